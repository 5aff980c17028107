"""Documents on IPFS: where they are pinned, and where they are read again."""

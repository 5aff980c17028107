"""The newest blocks, which decide commitments and which blockhashes are valid."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from solders.hash import Hash

from zmartd.embedded.localnet.chain.commitment import Commitment
from zmartd.embedded.localnet.chain.records import Block

MAX_BLOCKHASH_AGE = 150
"""For how many blocks a blockhash is valid (Solana's MAX_PROCESSING_AGE)."""
FINALITY_DEPTH = 31
"""The number of complete blocks after a finalized one."""
RETAINED_BLOCKS = 512
"""As many as the SlotHashes sysvar has, which is more than any other use needs."""


class RecentBlocks:
    """The newest complete blocks and the open one."""

    def __init__(self, complete: Iterable[Block], opened: Block) -> None:
        self._complete: deque[Block] = deque(complete, maxlen=RETAINED_BLOCKS)
        assert self._complete, "a chain begins with a complete genesis block"
        self._by_hash = {block.blockhash: block for block in self._complete}
        self.opened = opened

    @property
    def newest(self) -> Block:
        """The newest complete block."""
        return self._complete[-1]

    @property
    def finalized(self) -> Block:
        """The newest finalized block, or the oldest known block of a new chain."""
        return self._complete[max(0, len(self._complete) - 1 - FINALITY_DEPTH)]

    def at(self, commitment: Commitment) -> Block:
        """The newest block with that commitment."""
        if commitment is Commitment.PROCESSED:
            return self.opened
        return self.newest if commitment is Commitment.CONFIRMED else self.finalized

    def commitment_of(self, slot: int) -> Commitment:
        """The commitment of the transactions in `slot`."""
        if slot <= self.finalized.slot:
            return Commitment.FINALIZED
        return Commitment.CONFIRMED if slot <= self.newest.slot else Commitment.PROCESSED

    def complete(self, blockhash: Hash, following: Block) -> Block:
        """Complete the open block with its hash, open `following`, and return the completed block."""
        opened = self.opened
        block = Block(opened.slot, opened.height, opened.unix_time, blockhash)
        if len(self._complete) == RETAINED_BLOCKS:
            del self._by_hash[self._complete[0].blockhash]
        self._complete.append(block)
        self._by_hash[blockhash] = block
        self.opened = following
        return block

    def latest_blockhash(self, commitment: Commitment) -> tuple[Hash, int]:
        """The blockhash to sign with, and the last block height at which it is valid."""
        block = self.finalized if commitment is Commitment.FINALIZED else self.newest
        assert block.blockhash is not None
        return block.blockhash, block.height + MAX_BLOCKHASH_AGE

    def is_alive(self, blockhash: Hash, commitment: Commitment = Commitment.PROCESSED) -> bool:
        """Whether the blockhash is valid at the newest block with that commitment."""
        block = self._by_hash.get(blockhash)
        tip = self.at(commitment)
        return block is not None and block.slot <= tip.slot and tip.height - block.height <= MAX_BLOCKHASH_AGE

    def slot_hashes(self) -> list[tuple[int, Hash]]:
        """Newest first, as the SlotHashes sysvar has them."""
        return [(block.slot, block.blockhash) for block in reversed(self._complete) if block.blockhash]

"""The newest blocks, which decide commitments and which blockhashes are valid."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from solders.hash import Hash

from zmartd.embedded.localnet.chain.commitment import Commitment
from zmartd.embedded.localnet.chain.records import Block

MAX_BLOCKHASH_AGE = 150
"""For how many blocks a blockhash is valid (Solana's MAX_PROCESSING_AGE)."""
CLUSTER_SLOT_MILLISECONDS = 400
FINALITY_DEPTH = 31
"""The number of complete blocks after a finalized one."""
SLOT_HASHES = 512
"""The number of blocks in the SlotHashes sysvar."""


def blockhash_blocks(slot_milliseconds: int) -> int:
    """For how many blocks a blockhash is valid where slots have this length.

    A client has as long to sign and send as on a cluster: shorter slots do not hurry it.
    """
    return max(MAX_BLOCKHASH_AGE, MAX_BLOCKHASH_AGE * CLUSTER_SLOT_MILLISECONDS // slot_milliseconds)


def retained_blocks(valid_blocks: int) -> int:
    """How many complete blocks are needed: those of the sysvar, and all whose hash a final view knows."""
    return max(SLOT_HASHES, valid_blocks + FINALITY_DEPTH + 2)


class RecentBlocks:
    """The newest complete blocks and the open one."""

    def __init__(
        self, complete: Iterable[Block], opened: Block, valid_blocks: int = MAX_BLOCKHASH_AGE
    ) -> None:
        """A blockhash is valid for `valid_blocks`."""
        self.valid_blocks = valid_blocks
        self.finality_depth = FINALITY_DEPTH
        """The number of complete blocks after a finalized one; more while finality is held."""
        self._holds_finality = False
        self._retained = retained_blocks(valid_blocks)
        self._complete: deque[Block] = deque(complete, maxlen=self._retained)
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
        return self._complete[max(0, len(self._complete) - 1 - self.finality_depth)]

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

    def hold_finality(self, *, hold: bool) -> None:
        """Let no more blocks become final until told otherwise, or for as long as a blockhash is valid."""
        self._holds_finality = hold
        if not hold:
            self.finality_depth = FINALITY_DEPTH

    def complete(self, blockhash: Hash, following: Block) -> Block:
        """Complete the open block with its hash, open `following`, and return the completed block."""
        opened = self.opened
        block = Block(opened.slot, opened.height, opened.unix_time, blockhash)
        if len(self._complete) == self._retained:
            del self._by_hash[self._complete[0].blockhash]
        self._complete.append(block)
        self._by_hash[blockhash] = block
        self.opened = following
        if self._holds_finality and self.finality_depth < self.valid_blocks:
            self.finality_depth += 1
        return block

    def latest_blockhash(self, commitment: Commitment) -> tuple[Hash, int]:
        """The blockhash to sign with, and the last block height at which it is valid."""
        block = self.finalized if commitment is Commitment.FINALIZED else self.newest
        assert block.blockhash is not None
        return block.blockhash, block.height + self.valid_blocks

    def is_alive(self, blockhash: Hash, commitment: Commitment = Commitment.PROCESSED) -> bool:
        """Whether the blockhash is valid at the newest block with that commitment."""
        block = self._by_hash.get(blockhash)
        tip = self.at(commitment)
        return block is not None and block.slot <= tip.slot and tip.height - block.height <= self.valid_blocks

    def is_recent(self, slot: int) -> bool:
        """Whether a node has statuses of that slot in memory. A time travel skips slots, and ages none."""
        return slot >= self._complete[max(0, len(self._complete) - 2 * self.valid_blocks)].slot

    def slot_hashes(self) -> list[tuple[int, Hash]]:
        """Newest first, as the SlotHashes sysvar has them."""
        newest = islice(reversed(self._complete), SLOT_HASHES)
        return [(block.slot, block.blockhash) for block in newest if block.blockhash]

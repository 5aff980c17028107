"""A market's texts as one document, whose content id the creator puts on the chain."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Struct

from zmartd.market import ids
from zmartd.market.iso_time import iso_time
from zmartd.market.lmsr import MIN_B, SCALE

_LN2 = 693_147_181
"""ln 2 in fixed point, rounded up."""


class Proposal(Struct, frozen=True, kw_only=True):
    """What a market is about. The chain knows none of it, only the content id of its document."""

    question: str
    description: str
    category: str
    tags: tuple[str, ...]
    end_date: datetime

    def document(self) -> bytes:
        """The canonical JSON (keys sorted, no spaces, UTF-8): the same proposal is always the same bytes."""
        facts = {
            "question": self.question,
            "description": self.description,
            "category": self.category,
            "tags": self.tags,
            "end_date": iso_time(self.end_date),
        }
        return msgspec.json.encode(facts, order="sorted")

    def cid(self) -> str:
        """The document's IPFS content id."""
        return ids.cid_v0(self.document())


def max_loss_lamports(b: int) -> int:
    """The most that a market maker with liquidity parameter `b` can lose to traders: b·ln 2, rounded up."""
    return -(-b * _LN2 // SCALE)


def covered_b(initial_liquidity_lamports: int) -> int:
    """The largest `b` whose greatest loss the liquidity covers, but never below what the program accepts."""
    return max(initial_liquidity_lamports * SCALE // _LN2, MIN_B)

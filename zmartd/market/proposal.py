"""A proposed market: its texts as one document, whose content id is on the chain, and its liquidity."""

from __future__ import annotations

from datetime import datetime
from typing import Self

import msgspec
from msgspec import Struct

from zmartd.market import ids
from zmartd.market.iso_time import iso_time
from zmartd.market.lmsr import MIN_B, SCALE

_LN2 = 693_147_181
"""ln 2 in fixed point, rounded up."""


class Proposal(Struct, frozen=True, kw_only=True):
    """The texts of a market. The chain has only the content id of their document."""

    question: str
    description: str
    category: str
    tags: tuple[str, ...]
    end_date: datetime
    resolution_rules: str = ""
    resolution_sources: tuple[str, ...] = ()
    """https URLs."""
    image_url: str | None = None

    def document(self) -> bytes:
        """The canonical JSON: UTF-8, sorted keys, no spaces. Equal proposals give equal bytes.

        What came later than the first documents is left out where it is empty.
        """
        texts: dict[str, object] = {
            "question": self.question,
            "description": self.description,
            "category": self.category,
            "tags": self.tags,
            "end_date": iso_time(self.end_date),
        }
        later = ("resolution_rules", "resolution_sources", "image_url")
        texts |= {name: value for name in later if (value := getattr(self, name))}
        return msgspec.json.encode(texts, order="sorted")

    def cid(self) -> str:
        """The document's IPFS content id."""
        return ids.cid_v0(self.document())


class ResolutionTexts(Struct, frozen=True):
    """How a market is resolved: rules, and https URLs to look at."""

    resolution_rules: str = ""
    resolution_sources: tuple[str, ...] = ()

    @classmethod
    def of(cls, document: bytes) -> Self:
        """Those in a proposal's document."""
        return msgspec.json.decode(document, type=cls)


def max_loss_lamports(b: int) -> int:
    """The most that a market with liquidity parameter `b` can lose to traders: b·ln 2, rounded up."""
    return -(-b * _LN2 // SCALE)


def largest_covered_b(initial_liquidity_lamports: int) -> int:
    """The largest `b` whose maximum loss the liquidity covers, but at least MIN_B."""
    return max(initial_liquidity_lamports * SCALE // _LN2, MIN_B)

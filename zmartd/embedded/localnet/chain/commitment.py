"""How settled something has to be."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

CommitmentName = Literal["processed", "confirmed", "finalized"]


class Commitment(IntEnum):
    """Ordered: what is finalized is confirmed, and what is confirmed is processed."""

    PROCESSED = 0
    """Executed, in the slot that is still open."""
    CONFIRMED = 1
    """The transaction's slot is complete."""
    FINALIZED = 2
    """31 more blocks lie on top of it."""

    @classmethod
    def of(cls, name: CommitmentName) -> Commitment:
        return cls[name.upper()]

    @property
    def label(self) -> CommitmentName:
        return _LABELS[self]


_LABELS: tuple[CommitmentName, ...] = ("processed", "confirmed", "finalized")

"""Commitment levels."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

CommitmentName = Literal["processed", "confirmed", "finalized"]


class Commitment(IntEnum):
    """In order: what is finalized is also confirmed, and what is confirmed is also processed."""

    PROCESSED = 0
    """Executed in the open slot."""
    CONFIRMED = 1
    """The transaction's slot is complete."""
    FINALIZED = 2
    """31 more blocks follow it."""

    @classmethod
    def of(cls, name: CommitmentName) -> Commitment:
        return cls[name.upper()]

    @property
    def label(self) -> CommitmentName:
        return _LABELS[self]


_LABELS: tuple[CommitmentName, ...] = ("processed", "confirmed", "finalized")

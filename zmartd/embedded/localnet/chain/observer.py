"""Observers of the bank."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.embedded.localnet.chain.records import Block, LandedTransaction


class CompletedBlock(Struct, frozen=True):
    """A block with its transactions."""

    block: Block
    transactions: tuple[LandedTransaction, ...]
    changed: frozenset[Pubkey]
    """The accounts that transactions and cheatcodes wrote."""


class Observer(Protocol):
    """Is called by the bank during its work. Its methods must not block or raise."""

    def landed(self, transaction: LandedTransaction) -> None:
        """A transaction has landed in the open slot."""

    def accounts_written(self, addresses: frozenset[Pubkey]) -> None:
        """Accounts have changed in the open slot."""

    def confirmed(self, completed: CompletedBlock) -> None:
        """A block is complete, and the next slot is open."""

    def finalized(self, completed: CompletedBlock) -> None:
        """A block is final."""

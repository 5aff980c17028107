"""Being told what happens on the chain."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.embedded.localnet.chain.records import Block, Landed


class Content(Struct, frozen=True):
    """What happened in one block."""

    block: Block
    transactions: tuple[Landed, ...]
    changed: frozenset[Pubkey]
    """The accounts that transactions and cheats wrote."""


class Observer(Protocol):
    """Told while it happens. Must not block or raise."""

    def landed(self, transaction: Landed) -> None:
        """Processed, in the open slot."""

    def accounts_written(self, addresses: frozenset[Pubkey]) -> None:
        """Processed, in the open slot."""

    def confirmed(self, content: Content) -> None:
        """A slot is complete, and the next one open."""

    def finalized(self, content: Content) -> None:
        """A block has become final."""

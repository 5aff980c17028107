"""A transaction on its way to the chain: when it is due to be looked at and sent again, and how it ended."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from zmartd.chain.failures import ProgramFailure
from zmartd.chain.signed_transactions import (
    Fate,
    Landed,
    SignedTransaction,
    TransactionExpired,
    TransactionFailed,
)

LOOKS_PER_AGE = 8
"""The chain is asked about a transaction again after this part of its age, in each poll at most. Most land
within seconds; for one that has not there is ever less hurry, until its blockhash dies after a minute."""


class End(Struct, frozen=True):
    fate: Fate
    slot: int | None = None
    failure: ProgramFailure | None = None

    def landed(self, signature: str) -> Landed:
        """Raises TransactionFailed or TransactionExpired when it did not."""
        if self.failure is not None:
            raise TransactionFailed(signature, self.failure, self.slot)
        if self.slot is None:
            raise TransactionExpired(signature)
        return Landed(signature, self.slot)


class Sending:
    """A transaction under way."""

    def __init__(self, transaction: SignedTransaction, now: float) -> None:
        """`now` is by the monotonic clock."""
        loop = asyncio.get_running_loop()
        self.transaction = transaction
        self.recorded: asyncio.Future[Exception | None] = loop.create_future()
        """Done once it is in the outbox, or with what kept it from getting there."""
        self.ended: asyncio.Future[End | Exception] = loop.create_future()
        """Done once its end is in the outbox."""
        self.end: End | None = None
        self.begun_at = now
        self.looked_at = now
        """When the chain was last asked about it; at first when it was sent: no chain confirms at once."""
        self.sent = 0
        """How often this process has handed it to a node."""
        self.send_at: float | None = now
        """When it is sent again unless a block holds it by then. None: not again."""

    @property
    def signature(self) -> str:
        return self.transaction.signature

    @property
    def is_sendable(self) -> bool:
        """Whether it can still be due to be sent again."""
        return self.send_at is not None

    def is_to_be_sent(self, now: float) -> bool:
        return self.send_at is not None and self.send_at <= now

    def is_to_be_looked_at(self, now: float, poll_seconds: float) -> bool:
        """It is looked at before it is sent again, too."""
        age = self.looked_at - self.begun_at
        pause = max(poll_seconds, age / LOOKS_PER_AGE)
        return self.end is None and (now - self.looked_at >= pause or self.is_to_be_sent(now))

    async def is_recorded(self) -> None:
        """Wait until it is in the outbox. Cancelling the caller stops nothing.

        Raises what kept it from being recorded, or SenderUnavailable when the sender stops first.
        """
        problem = await asyncio.shield(self.recorded)
        if problem is not None:
            raise problem

    async def landed(self) -> Landed:
        """Wait until it is confirmed. Cancelling the caller stops nothing.

        Raises TransactionFailed, TransactionExpired, or SenderUnavailable when the sender stops first.
        """
        end = await asyncio.shield(self.ended)
        if isinstance(end, Exception):
            raise end
        return end.landed(self.signature)

"""A transaction that is being sent: when its status is polled, when it is sent again, and how it ended."""

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
from zmartd.log import CURRENT_REQUEST_ID

POLLS_PER_AGE = 8
"""A transaction's status is polled again after an eighth of its age, but at most once in a round. Most land
within seconds; one that has not is polled ever more rarely until its blockhash expires after a minute."""


class End(Struct, frozen=True):
    """How a transaction ended: in which slot, if any, and why it failed, if it did."""

    fate: Fate
    slot: int | None = None
    failure: ProgramFailure | None = None

    def landed(self, signature: str) -> Landed:
        """Raises TransactionFailed or TransactionExpired when the transaction did not land."""
        if self.failure is not None:
            raise TransactionFailed(signature, self.failure, self.slot)
        if self.slot is None:
            raise TransactionExpired(signature)
        return Landed(signature, self.slot)


class Sending:
    """A transaction that a Sender sends and follows."""

    def __init__(self, transaction: SignedTransaction, now: float) -> None:
        """`now` is the monotonic clock's time."""
        loop = asyncio.get_running_loop()
        self.transaction = transaction
        self.request_id = CURRENT_REQUEST_ID.get(None)
        """The id of the request that it is sent for."""
        self.recorded: asyncio.Future[Exception | None] = loop.create_future()
        """Done once it is in the outbox; its result is the error that kept it from being recorded, if any."""
        self.ended: asyncio.Future[End | Exception] = loop.create_future()
        """Done once its end is in the outbox."""
        self.end: End | None = None
        self.begun_at = now
        self.polled_at = now
        """When its status was last polled. Sending counts as a poll: no transaction is confirmed at once."""
        self.sent = 0
        """How often this process has sent it, or withheld it because it would have brought too few shares."""
        self.send_at: float | None = now
        """When it is sent again unless a block holds it by then; None: it is not sent again."""

    @property
    def signature(self) -> str:
        return self.transaction.signature

    @property
    def is_sendable(self) -> bool:
        """Whether it will be sent again unless a block holds it."""
        return self.send_at is not None

    def is_to_be_sent(self, now: float) -> bool:
        return self.send_at is not None and self.send_at <= now

    def is_to_be_polled(self, now: float, poll_seconds: float) -> bool:
        """Whether its status is due to be polled, which also happens before it is sent again."""
        age = self.polled_at - self.begun_at
        pause = max(poll_seconds, age / POLLS_PER_AGE)
        return self.end is None and (now - self.polled_at >= pause or self.is_to_be_sent(now))

    async def until_recorded(self) -> None:
        """Wait until it is in the outbox. Cancelling the caller stops nothing.

        Raises the error that kept it from being recorded, or SenderUnavailable when the sender stops first.
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

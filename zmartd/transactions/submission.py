"""The one way of a signed transaction: recorded once, sent, confirmed, and indexed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asyncpg import Connection

from zmartd.chain.sender import Sender
from zmartd.chain.sending import Sending
from zmartd.chain.signed_transactions import SignedTransaction
from zmartd.chain.transactions import ChainTransaction
from zmartd.errors import OutcomeUnknown
from zmartd.faults import Point, reached
from zmartd.indexer.fetch import Fetcher
from zmartd.store import outbox
from zmartd.store.postgres.database import Database

Recording = Callable[[Connection, str], Awaitable[None]]
"""Writes what else has to be recorded together with a transaction, whose signature it is given."""


class Submission:
    """A transaction in the outbox that is being sent, or has landed already."""

    def __init__(self, transaction: SignedTransaction, sending: Sending | None, fetcher: Fetcher) -> None:
        """Without `sending` the transaction has landed."""
        self._transaction = transaction
        self._sending = sending
        self._fetcher = fetcher

    @property
    def signature(self) -> str:
        return self._transaction.signature

    async def landed(self) -> None:
        """Wait until the transaction is confirmed. Cancelling the caller stops nothing.

        Raises TransactionFailed, TransactionExpired, SenderUnavailable.
        """
        if self._sending is not None:
            await self._sending.landed()

    async def indexed(self) -> ChainTransaction:
        """Fetch the transaction, which a block holds, and index it.

        Raises TransactionNotFound while the node does not show it yet, TransactionUnread where what it shows
        cannot be read, and what else `apply_signature` raises. It can be called again.
        """
        is_relayed = self._transaction.relayed_for is not None
        await reached(Point.RELAY_LANDED if is_relayed else Point.AUTHORITY_LANDED)
        executed = await self._fetcher.apply_signature(self.signature)
        await reached(Point.RELAY_INDEXED if is_relayed else Point.AUTHORITY_INDEXED)
        return executed


class Submitter:
    """Submits transactions. Each method returns once the transaction is in the outbox: from then on it is
    followed to its end, even if the caller is cancelled or the process ends.

    They raise SenderUnavailable, DatabaseUnavailable and the like.
    """

    def __init__(self, database: Database, sender: Sender, fetcher: Fetcher) -> None:
        self._database = database
        self._sender = sender
        self._fetcher = fetcher

    async def submit(self, transaction: SignedTransaction) -> Submission:
        """Record a transaction and send it. Raises TooManyPending; when this raises, nothing was sent."""
        return self._submission(transaction, await self._sender.begin(transaction))

    async def submit_recorded(self, transaction: SignedTransaction) -> Submission:
        """Send a transaction that is in the outbox already and whose fate is not known."""
        return self._submission(transaction, await self._sender.begin_recorded(transaction))

    async def submit_once(
        self,
        market_id: str,
        proposed: SignedTransaction,
        read_at_slot: int,
        recording: Recording | None = None,
    ) -> Submission:
        """Submit `proposed`, or go on with the transaction that serves its purpose on this market already.

        See `outbox.claim`. The claim and what `recording` writes are one database transaction: when
        `recording` raises, nothing is recorded and nothing is sent.
        """
        try:
            async with self._database.service() as connection:
                claim = await outbox.claim(connection, market_id, proposed, read_at_slot)
                if recording is not None:
                    await recording(connection, claim.transaction.signature)
                await reached(Point.AUTHORITY_CLAIMED)
        except OutcomeUnknown:
            self._sender.recheck(proposed)
            raise
        await reached(Point.AUTHORITY_RECORDED)
        if claim.landed_slot is not None:
            return self._submission(claim.transaction, None)
        return await self.submit_recorded(claim.transaction)

    def _submission(self, transaction: SignedTransaction, sending: Sending | None) -> Submission:
        return Submission(transaction, sending, self._fetcher)

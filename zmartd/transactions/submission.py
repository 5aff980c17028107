"""The one way of a signed transaction: recorded once, sent, confirmed, and indexed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from asyncpg import Connection

from zmartd.chain.sender import Sender
from zmartd.chain.sending import Sending
from zmartd.chain.signed_transactions import SignedTransaction
from zmartd.chain.transactions import ChainTransaction
from zmartd.errors import OutcomeUnknown, ZmartdError
from zmartd.faults import Point, reached
from zmartd.indexer.fetch import Fetcher
from zmartd.store.intents import Intent, Standing, claim, expired_before
from zmartd.store.postgres.database import Database

Recording = Callable[[Connection, Mapping[str, str]], Awaitable[None]]
"""Writes what else has to be recorded together with transactions, whose signatures it is given by market."""


class OtherUnderWay(ZmartdError):
    """An earlier transaction, which does something else to the market, may still land. The next run sees what
    became of it."""

    code = "other_under_way"


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
        intents: Sequence[Intent],
        proposed: SignedTransaction | None,
        recording: Recording | None = None,
    ) -> dict[str, Submission | OtherUnderWay]:
        """Submit `proposed` for all of these intents, or go on with transactions that stand for some of them.

        Then only these are given, by market, and nothing is done about the others: see `intents.claim`. The
        claim and what `recording` writes are one database transaction: when `recording` raises, nothing is
        recorded and nothing is sent.
        """
        try:
            async with self._database.service() as connection:
                standing = await claim(connection, intents, proposed)
                served = {
                    market_id: one.transaction.signature for market_id, one in standing.items() if one.serves
                }
                if not standing and proposed is not None:
                    served = dict.fromkeys((intent.market_id for intent in intents), proposed.signature)
                if served and recording is not None:
                    await recording(connection, served)
                await reached(Point.AUTHORITY_CLAIMED)
        except OutcomeUnknown:
            if proposed is not None:
                self._sender.recheck(proposed)
            raise
        await reached(Point.AUTHORITY_RECORDED)
        if standing:
            return await self._going_on_with(standing)
        if proposed is None:
            return {}
        return dict.fromkeys(served, await self.submit_recorded(proposed))

    async def expired_before(self, intents: Sequence[Intent]) -> int:
        """How many transactions for the same have expired, of the intent with most."""
        async with self._database.service_reader() as connection:
            return await expired_before(connection, intents)

    async def _going_on_with(self, standing: Mapping[str, Standing]) -> dict[str, Submission | OtherUnderWay]:
        """Send again what may still land; what does not serve is only followed, so that its end is known."""
        found: dict[str, Submission | OtherUnderWay] = {}
        for market_id, one in standing.items():
            if not one.serves:
                if one.landed_slot is None:
                    self._sender.follow(one.transaction)
                found[market_id] = OtherUnderWay()
            elif one.landed_slot is not None:
                found[market_id] = self._submission(one.transaction, None)
            else:
                found[market_id] = await self.submit_recorded(one.transaction)
        return found

    def _submission(self, transaction: SignedTransaction, sending: Sending | None) -> Submission:
        return Submission(transaction, sending, self._fetcher)

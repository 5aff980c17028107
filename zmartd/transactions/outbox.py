"""The outbox of signed transactions; wallets are told what becomes of those that are relayed for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from asyncpg import Connection

from zmartd import config
from zmartd.chain.signed_transactions import Fate, SignedTransaction
from zmartd.realtime.messages import OwnTransaction, TransactionStatus, WalletMessage
from zmartd.realtime.publisher import NoPublisher, Publisher
from zmartd.store import outbox
from zmartd.store.outbox import OutboxEntry
from zmartd.store.postgres.database import Database

_STATUSES: Final[dict[Fate, TransactionStatus]] = {
    Fate.LANDED: "confirmed",
    Fate.FAILED: "failed",
    Fate.EXPIRED: "expired",
}


class DatabaseOutbox:
    """`chain.sender.Outbox` in Postgres. Each call is a transaction of its own, durable when it returns.

    Raises DatabaseUnavailable and the like.
    """

    def __init__(
        self,
        database: Database,
        settings: config.TransactionSettings,
        publisher: Publisher | None = None,
    ) -> None:
        """`publisher` tells the wallets; without one nobody is told."""
        self._database = database
        self._max_pending_per_wallet = settings.max_pending_per_wallet
        self._publisher = publisher or NoPublisher()
        self._publishing: set[asyncio.Task[None]] = set()

    async def record(self, transaction: SignedTransaction) -> None:
        """Raises TooManyPending when the wallet that it is relayed for has too many pending ones."""
        async with self._database.service() as connection:
            is_new = await outbox.record(connection, transaction, self._max_pending_per_wallet)
            wallet = transaction.relayed_for if is_new else None
            told = await self._append(
                connection, wallet, OwnTransaction(signature=transaction.signature, status="sent")
            )
        self._publish(told)

    async def record_fate(self, signature: str, fate: Fate, slot: int | None, error: str | None) -> None:
        change = OwnTransaction(signature=signature, status=_STATUSES[fate], slot=slot, error=error)
        async with self._database.service() as connection:
            wallet = await outbox.record_fate(connection, signature, fate, slot, error)
            told = await self._append(connection, wallet, change)
        self._publish(told)

    async def reopen(self, signature: str) -> None:
        """Make a transaction pending again that was in a block and is in none any more."""
        async with self._database.service() as connection:
            wallet = await outbox.reopen(connection, signature)
            told = await self._append(connection, wallet, _sent(signature))
        self._publish(told)

    async def pending(self, older_than_seconds: float = 0.0) -> Sequence[SignedTransaction]:
        async with self._database.service_reader() as connection:
            return await outbox.pending(connection, older_than_seconds)

    async def find(self, signature: str) -> OutboxEntry | None:
        """A transaction that this daemon or another one has sent."""
        async with self._database.service_reader() as connection:
            return await outbox.find(connection, signature)

    async def _append(
        self, connection: Connection, wallet: str | None, change: OwnTransaction
    ) -> Sequence[WalletMessage]:
        """Append what the wallet is told, if it was relayed for one, as the last in the transaction."""
        if wallet is None:
            return ()
        at = await connection.fetchval("select now()")
        message = WalletMessage(wallet, change, at, None if change.slot is None else "confirmed")
        return await self._publisher.append(connection, [message])

    def _publish(self, messages: Sequence[WalletMessage]) -> None:
        """Publish beside what else goes on: no transaction waits for Redis."""
        if messages:
            task = asyncio.create_task(self._publisher.publish(messages), name="publish a fate")
            self._publishing.add(task)
            task.add_done_callback(self._publishing.discard)


def _sent(signature: str) -> OwnTransaction:
    return OwnTransaction(signature=signature, status="sent")

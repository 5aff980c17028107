"""Signed transactions, kept from before they are sent until their fate is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from zmartd.chain.sender import Fate, SignedTransaction
from zmartd.store.pool import Database

_RECORD = """
insert into outbox_transactions (signature, wire, last_valid_block_height, purpose, relayed_for)
values ($1, $2, $3, $4, $5)
on conflict (signature) do nothing
"""
_SETTLE = """
update outbox_transactions set status = $2, slot = $3, error = $4, settled_at = now()
 where signature = $1 and status = 'pending'
"""
_UNSETTLED = """
select signature, wire, last_valid_block_height, purpose, relayed_for
  from outbox_transactions where status = 'pending' order by created_at, signature
"""
_FIND = """
select signature, wire, last_valid_block_height, purpose, relayed_for, status, slot, error, created_at,
       settled_at
  from outbox_transactions where signature = $1
"""
_PENDING = "pending"


class Sent(Struct, frozen=True):
    """A transaction and what became of it: `fate` is None while that is not known."""

    transaction: SignedTransaction
    fate: Fate | None
    slot: int | None
    error: str | None
    created_at: datetime
    settled_at: datetime | None


class DatabaseOutbox:
    """`chain.sender.Outbox` in Postgres. Each call is a transaction of its own, durable when it returns.

    Raises DatabaseUnavailable and the like.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, transaction: SignedTransaction) -> None:
        async with self._database.service() as connection:
            await connection.execute(
                _RECORD,
                transaction.signature,
                transaction.wire,
                transaction.last_valid_block_height,
                transaction.purpose,
                transaction.relayed_for,
            )

    async def settle(self, signature: str, fate: Fate, slot: int | None, error: str | None) -> None:
        async with self._database.service() as connection:
            await connection.execute(_SETTLE, signature, fate.value, slot, error)

    async def unsettled(self) -> Sequence[SignedTransaction]:
        async with self._database.service() as connection:
            return [SignedTransaction(**dict(row)) for row in await connection.fetch(_UNSETTLED)]

    async def find(self, signature: str) -> Sent | None:
        """What is known of a transaction that went through here."""
        async with self._database.service() as connection:
            row = await connection.fetchrow(_FIND, signature)
        if row is None:
            return None
        return Sent(
            transaction=SignedTransaction(
                row["signature"],
                row["wire"],
                row["last_valid_block_height"],
                row["purpose"],
                row["relayed_for"],
            ),
            fate=None if row["status"] == _PENDING else Fate(row["status"]),
            slot=row["slot"],
            error=row["error"],
            created_at=row["created_at"],
            settled_at=row["settled_at"],
        )

"""Signed transactions, kept from before they are sent until their fate is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from zmartd import config
from zmartd.chain.sender import Fate, SignedTransaction
from zmartd.errors import ZmartdError
from zmartd.store.postgres.database import Database

RETRY_AFTER_SECONDS = 5
"""Within this time most transactions have been confirmed, and their places are free again."""

_LOCK = "select pg_advisory_xact_lock(hashtextextended('relayed for:' || $1, 9))"
_RECORD = """
insert into outbox_transactions (signature, wire, last_valid_block_height, purpose, relayed_for)
values ($1, $2, $3, $4, $5)
on conflict (signature) do nothing
"""
_RECORD_RELAYED = """
with place as (
    select (select count(*) from outbox_transactions where relayed_for = $5 and status = 'pending') < $6
        or exists (select from outbox_transactions where signature = $1) as is_free
), recorded as (
    insert into outbox_transactions (signature, wire, last_valid_block_height, purpose, relayed_for)
    select $1, $2, $3, $4, $5 from place where is_free
    on conflict (signature) do nothing
)
select is_free from place
"""
_SETTLE = """
update outbox_transactions set status = $2, slot = $3, error = $4, settled_at = now()
 where signature = $1 and status = 'pending'
"""
_PURGE = """
delete from outbox_transactions where signature in (
    select signature from outbox_transactions as old
     where status <> 'pending' and settled_at < now() - make_interval(days => $1)
       and (status <> 'landed' or market_id is null
            or exists (select from markets where markets.id = old.market_id and markets.slot >= old.slot))
     order by settled_at limit 100 for update of old skip locked)
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


class TooManyPending(ZmartdError):
    """This wallet has as many transactions under way as it may: send this one again when one has ended."""

    code = "too_many_pending"

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit, retry_after_seconds=RETRY_AFTER_SECONDS)


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

    def __init__(self, database: Database, settings: config.Transactions) -> None:
        self._database = database
        self._max_pending_per_wallet = settings.max_pending_per_wallet
        self._keep_days = settings.keep_days

    async def record(self, transaction: SignedTransaction) -> None:
        """Raises TooManyPending when the wallet that it is relayed for has no place left."""
        values = (
            transaction.signature,
            transaction.wire,
            transaction.last_valid_block_height,
            transaction.purpose,
            transaction.relayed_for,
        )
        async with self._database.service() as connection:
            if transaction.relayed_for is None:
                await connection.execute(_RECORD, *values)
                return
            # A statement of its own: the next one has to see what the last holder of the lock wrote.
            await connection.execute(_LOCK, transaction.relayed_for)
            if not await connection.fetchval(_RECORD_RELAYED, *values, self._max_pending_per_wallet):
                raise TooManyPending(self._max_pending_per_wallet)

    async def settle(self, signature: str, fate: Fate, slot: int | None, error: str | None) -> None:
        """Takes some of those along that have been settled for longer than they are kept."""
        async with self._database.service() as connection:
            await connection.execute(_SETTLE, signature, fate.value, slot, error)
            await connection.execute(_PURGE, self._keep_days)

    async def unsettled(self) -> Sequence[SignedTransaction]:
        async with self._database.service_reader() as connection:
            return [SignedTransaction(**dict(row)) for row in await connection.fetch(_UNSETTLED)]

    async def find(self, signature: str) -> Sent | None:
        """What is known of a transaction that went through here."""
        async with self._database.service_reader() as connection:
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

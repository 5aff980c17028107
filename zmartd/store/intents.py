"""What the authority's transactions are meant to do to markets: once for each purpose in each round."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.chain.signed_transactions import SignedTransaction
from zmartd.store.postgres.reader import Reads

_LOCK = """
with keys as materialized (
    select distinct hashtextextended(purpose || ':' || market_id, 8) as key
      from unnest($1::text[], $2::text[]) as asked (market_id, purpose) order by key
)
select pg_advisory_xact_lock(key) from keys
"""
"""In one order for everybody: those whose markets overlap wait for each other, and never in a circle."""
_STANDING = """
select intent.market_id, intent.round, intent.effect, sent.signature, sent.wire, sent.last_valid_block_height,
       sent.purpose, sent.status, sent.slot
  from unnest($1::text[], $2::text[], $3::text[]) as asked (market_id, purpose, round)
  join transaction_intents as intent
    on intent.market_id = asked.market_id and intent.purpose = asked.purpose
  join outbox_transactions as sent using (signature)
 where sent.status = 'pending'
    or (sent.status = 'landed' and intent.is_current and intent.round = asked.round)
 order by sent.status = 'pending', sent.created_at, sent.signature
"""
_REOPEN = """
with taken as (
    select signature from outbox_transactions
     where signature = any($1::text[]) and status = 'landed' order by signature for update
)
update outbox_transactions set status = 'pending', slot = null, error = null, settled_at = null
  from taken where outbox_transactions.signature = taken.signature
"""
_RECORD = """
insert into outbox_transactions (signature, wire, last_valid_block_height, purpose) values ($1, $2, $3, $4)
on conflict (signature) do update set status = 'pending', slot = null, error = null, settled_at = null
    where outbox_transactions.status <> 'landed'
returning true
"""
_REPLACE = """
update transaction_intents as intent set is_current = false
  from unnest($2::text[], $3::text[], $4::text[]) as asked (market_id, purpose, round)
 where intent.market_id = asked.market_id and intent.purpose = asked.purpose and intent.round = asked.round
   and intent.is_current and intent.signature <> $1
"""
_MEAN = """
insert into transaction_intents (signature, market_id, purpose, round, effect)
select $1, asked.* from unnest($2::text[], $3::text[], $4::text[], $5::bytea[]) as asked
on conflict (signature, market_id) do update set is_current = true
"""
_EXPIRED = """
select coalesce(max(expired), 0)
  from (select count(*) as expired
          from unnest($1::text[], $2::text[], $3::text[]) as asked (market_id, purpose, round)
          join transaction_intents as intent
            on (intent.market_id, intent.purpose, intent.round)
             = (asked.market_id, asked.purpose, asked.round)
          join outbox_transactions as sent using (signature)
         where sent.status = 'expired'
         group by intent.market_id, intent.purpose, intent.round) as of_intent
"""


class Intent(Struct, frozen=True):
    """What is meant to be done to a market once.

    `round` names the passage of the market's life that it is about, and `read_at_slot` is the slot of the
    account from which that was decided. `effect` is the SHA-256 of the instructions.
    """

    market_id: str
    purpose: str
    round: str
    effect: bytes
    read_at_slot: int


class Standing(Struct, frozen=True):
    """A transaction that stands where another one was proposed."""

    transaction: SignedTransaction
    landed_slot: int | None
    """Where it landed, if it has; the account that was read does not show it yet."""
    serves: bool
    """Whether it does what is meant. If not, nothing else is signed before it has ended."""


async def claim(
    connection: Connection, intents: Sequence[Intent], proposed: SignedTransaction | None
) -> dict[str, Standing]:
    """Record `proposed` for all of these intents, unless other transactions stand for some of them.

    Gives these by market; then nothing is recorded. So at most one transaction is under way for a purpose on
    a market, however many daemons decide at once, and no other one is signed while it may still land:

    - One that is pending stands, and serves if it has the same effect in the same round.
    - One that landed in this round after the account was read stands.
    - One that landed in this round before the account was read, which shows nothing of it, was taken by a
      fork. It is pending again: it is sent again, or proven to have expired.

    A transaction that failed and is proposed again with the same blockhash has the same bytes. It is sent
    again, and fails again or does now what it could not do before. One that landed, in an earlier round with
    the same blockhash, cannot land again: it stands and does not serve.

    Takes a service transaction of its own, because the other daemons wait for its end. Each intent is about
    another market.
    """
    market_ids, purposes, _ = _columns(intents)
    # A statement of its own: the next one must see what the last holders of the locks wrote.
    await connection.execute(_LOCK, market_ids, purposes)
    if standing := await standing_for(connection, intents):
        unseen = [one.transaction.signature for one in standing.values() if one.landed_slot is None]
        await connection.execute(_REOPEN, unseen)
        return standing
    if proposed is not None and not await _record(connection, intents, proposed):
        landed = Standing(proposed, intents[0].read_at_slot, serves=False)
        return dict.fromkeys(market_ids, landed)
    return {}


async def standing_for(connection: Reads, intents: Sequence[Intent]) -> dict[str, Standing]:
    """What stands for these intents by now, by market. Takes a service reader."""
    rows = await connection.fetch(_STANDING, *_columns(intents))
    found = {row["market_id"]: row for row in rows}
    return {
        intent.market_id: _standing(found[intent.market_id], intent)
        for intent in intents
        if intent.market_id in found
    }


async def expired_before(connection: Reads, intents: Sequence[Intent]) -> int:
    """How many transactions for the same have expired, of the intent with most. Takes a service reader."""
    found: int = await connection.fetchval(_EXPIRED, *_columns(intents))
    return found


async def _record(connection: Connection, intents: Sequence[Intent], proposed: SignedTransaction) -> bool:
    """False where it has landed in an earlier round, whose blockhash was the same."""
    is_recorded: bool | None = await connection.fetchval(
        _RECORD, proposed.signature, proposed.wire, proposed.last_valid_block_height, proposed.purpose
    )
    if not is_recorded:
        return False
    columns = _columns(intents)
    await connection.execute(_REPLACE, proposed.signature, *columns)
    await connection.execute(_MEAN, proposed.signature, *columns, [intent.effect for intent in intents])
    return True


def _standing(row: Record, intent: Intent) -> Standing:
    slot = row["slot"]
    is_shown = slot is not None and slot <= intent.read_at_slot
    return Standing(
        SignedTransaction(row["signature"], row["wire"], row["last_valid_block_height"], row["purpose"]),
        None if is_shown else slot,
        row["round"] == intent.round and row["effect"] == intent.effect,
    )


def _columns(intents: Iterable[Intent]) -> tuple[list[str], list[str], list[str]]:
    """Market ids, purposes and rounds."""
    return (
        [intent.market_id for intent in intents],
        [intent.purpose for intent in intents],
        [intent.round for intent in intents],
    )

"""At most one transaction on its way for one purpose on one market, however many daemons decide at once."""

from __future__ import annotations

from asyncpg import Connection
from msgspec import Struct

from zmartd.chain.sender import SignedTransaction

_LOCK = "select pg_advisory_xact_lock(hashtextextended($1 || ':' || $2, 8))"
_UNDER_WAY = """
select signature, wire, last_valid_block_height, purpose, slot
  from outbox_transactions
 where market_id = $1 and purpose = $2 and (status = 'pending' or (status = 'landed' and slot > $3))
 order by created_at desc, signature
 limit 1
"""
_RECORD = """
insert into outbox_transactions (signature, wire, last_valid_block_height, purpose, market_id)
values ($1, $2, $3, $4, $5)
on conflict (signature) do update set status = 'pending', slot = null, error = null, settled_at = null
"""


class Claim(Struct, frozen=True):
    """The one transaction to go on with. `landed_slot` tells where it has landed already, if it has."""

    transaction: SignedTransaction
    landed_slot: int | None


async def claim(
    connection: Connection, market_id: str, proposed: SignedTransaction, read_at_slot: int
) -> Claim:
    """Record `proposed` for its purpose on this market, unless another one is under way: then that one.

    Under way is what is in the outbox without a known fate, and what landed after `read_at_slot`, the slot of
    the account from which the caller decided: what that caller read did not show it yet.

    A transaction that failed and is proposed again on the same blockhash is the same bytes: it is sent again,
    which can only repeat its failure or do now what could not be done then.

    Takes a service transaction of its own, because the other daemons wait for its end.
    """
    await connection.execute(_LOCK, proposed.purpose, market_id)
    row = await connection.fetchrow(_UNDER_WAY, market_id, proposed.purpose, read_at_slot)
    if row is not None:
        known = SignedTransaction(
            row["signature"], row["wire"], row["last_valid_block_height"], row["purpose"]
        )
        return Claim(known, row["slot"])
    await connection.execute(
        _RECORD,
        proposed.signature,
        proposed.wire,
        proposed.last_valid_block_height,
        proposed.purpose,
        market_id,
    )
    return Claim(proposed, None)

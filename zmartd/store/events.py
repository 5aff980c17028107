"""A market's audit trail: every event that moved it, with its place on the chain."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from asyncpg import Connection
from msgspec import Struct

_OF_MARKET = """
select event_type, tx_signature, event_index, slot, block_time, actor, payload, commitment
  from (
    select * from market_events where market_id = $1
    union all
    select * from admin_events where market_id = $1
    union all
    select * from vote_events
     where market_id = $1 and event_type in ('ProposalAggregated', 'DisputeAggregated')
  ) as events
 order by slot desc, index_in_block desc nulls last, event_index desc, tx_signature
 limit $2 offset $3
"""


class Event(Struct, frozen=True):
    """One event as the program said it. `payload` holds addresses in base58, bytes in hex, u64 as text."""

    event_type: str
    tx_signature: str
    event_index: int
    slot: int
    block_time: datetime | None
    actor: str | None
    payload: dict[str, Any]
    commitment: str


async def of_market(connection: Connection, market_id: str, limit: int, offset: int) -> tuple[Event, ...]:
    """A market's changes of state and recorded counts, newest first. Anybody may read them."""
    rows = await connection.fetch(_OF_MARKET, market_id, limit, offset)
    return tuple(Event(**{**dict(row), "payload": msgspec.json.decode(row["payload"])}) for row in rows)

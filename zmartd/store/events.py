"""A market's audit trail: every event that moved it, with its place on the chain."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from zmartd.store.keyset import BigInt, Page, page_of
from zmartd.store.postgres.reader import Reads

_OF_MARKET = """
select event_type, tx_signature, event_index, slot, in_block, block_time, actor, payload, commitment
  from (
    select *, coalesce(index_in_block, -1) as in_block from market_events where market_id = $1
    union all
    select *, coalesce(index_in_block, -1) as in_block from admin_events where market_id = $1
    union all
    select *, coalesce(index_in_block, -1) from vote_events
     where market_id = $1 and event_type in ('ProposalAggregated', 'DisputeAggregated')
  ) as events
"""
_AFTER = " where (slot, in_block, tx_signature::text, event_index) < ($4, $5, $6, $7)"
_NEWEST_FIRST = """
 order by slot desc, in_block desc, tx_signature::text desc, event_index desc
 limit $2 offset $3
"""


class Event(Struct, frozen=True):
    """One event as the program said it. `payload` holds addresses in base58, bytes in hex, u64 as text."""

    event_type: str
    tx_signature: str
    event_index: int
    slot: int
    in_block: int
    """Where its transaction stands in the block; -1 while that is unknown."""
    block_time: datetime | None
    actor: str | None
    payload: dict[str, Any]
    commitment: str


class EventPageKey(Struct, frozen=True, tag="events/1"):
    """Where a page of events begins: after this one."""

    slot: BigInt
    in_block: Annotated[int, Meta(ge=-1, le=2**31 - 1)]
    signature: Annotated[str, Meta(max_length=88, pattern="^[1-9A-HJ-NP-Za-km-z]+$")]
    event_index: Annotated[int, Meta(ge=0, le=2**31 - 1)]


async def page(
    connection: Reads, market_id: str, limit: int, *, offset: int = 0, after: EventPageKey | None = None
) -> Page[Event, EventPageKey]:
    """A market's changes of state and recorded counts, newest first. Anybody may read them."""
    place = () if after is None else (after.slot, after.in_block, after.signature, after.event_index)
    query = _OF_MARKET + (_AFTER if place else "") + _NEWEST_FIRST
    rows = await connection.fetch(query, market_id, limit + 1, offset, *place)
    found = [Event(**{**dict(row), "payload": msgspec.json.decode(row["payload"])}) for row in rows]
    return page_of(found, limit, _key_of)


def _key_of(event: Event) -> EventPageKey:
    return EventPageKey(event.slot, event.in_block, event.tx_signature, event.event_index)

"""A market's audit trail: every event that changed it, with its position on the chain."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from zmartd.store.keyset import BigInt, CountedPage, counted_page_of, with_total
from zmartd.store.postgres.reader import Reads

# Not from the view program_events: it reads trades, too, which takes the service role.
# A market has few of these, and all are sorted anyway: to count them costs no more.
_OF_MARKET = """
with events as (
    select *, coalesce(index_in_block, -1) as in_block from market_events where market_id = $1
    union all
    select *, coalesce(index_in_block, -1) as in_block from admin_events where market_id = $1
    union all
    select *, coalesce(index_in_block, -1) from vote_events
     where market_id = $1 and event_type in ('ProposalAggregated', 'DisputeAggregated')
)
"""
_COLUMNS = """
select event_type, tx_signature, event_index, slot, in_block, block_time, actor, payload, commitment
  from events
"""
_AFTER = " where (slot, in_block, tx_signature::text, event_index) < ($4, $5, $6, $7)"
_NEWEST_FIRST = "order by slot desc, in_block desc, tx_signature::text desc, event_index desc"
_TOTAL = "(select count(*) from events)"


class Event(Struct, frozen=True):
    """One event as the program emitted it. In `payload` addresses are base58, bytes hex, and u64 text."""

    event_type: str
    tx_signature: str
    event_index: int
    slot: int
    in_block: int
    """The index of its transaction in the block; -1 while that is unknown."""
    block_time: datetime | None
    actor: str | None
    payload: dict[str, Any]
    commitment: str


class EventPageKey(Struct, frozen=True, tag="events/1"):
    """A page begins after this event."""

    slot: BigInt
    in_block: Annotated[int, Meta(ge=-1, le=2**31 - 1)]
    signature: Annotated[str, Meta(max_length=88, pattern="^[1-9A-HJ-NP-Za-km-z]+$")]
    event_index: Annotated[int, Meta(ge=0, le=2**31 - 1)]


async def page(
    connection: Reads, market_id: str, limit: int, *, offset: int = 0, after: EventPageKey | None = None
) -> CountedPage[Event, EventPageKey]:
    """A page of a market's events and recorded vote counts, newest first. Any caller may read them."""
    key = () if after is None else (after.slot, after.in_block, after.signature, after.event_index)
    page_query = f"{_COLUMNS} {_AFTER if key else ''} {_NEWEST_FIRST} limit $2 offset $3"
    query = _OF_MARKET + with_total(_TOTAL, page_query, _NEWEST_FIRST)
    rows = await connection.fetch(query, market_id, limit + 1, offset, *key)
    return counted_page_of(rows, limit, _event, _key_of)


def _event(row: dict[str, Any]) -> Event:
    return Event(**{**row, "payload": msgspec.json.decode(row["payload"])})


def _key_of(event: Event) -> EventPageKey:
    return EventPageKey(event.slot, event.in_block, event.tx_signature, event.event_index)

"""The history of a market: its prices and its events."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from zmartd.http.kit import earlier_answers
from zmartd.http.kit.earlier_names import DEPRECATED
from zmartd.http.kit.fields import (
    Commitment,
    MarketKey,
    Price,
    Time,
    price,
)
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.kit.pagination import (
    Limit,
    LongLimit,
    NextCursor,
    NextPage,
    Offset,
    PageLength,
    decode_cursor,
    encode_cursor,
    start_key,
)
from zmartd.http.markets.lookup import any_market
from zmartd.http.markets.program_events import event_fields
from zmartd.market.iso_time import iso_time, iso_time_or_none
from zmartd.market.lmsr import SCALE
from zmartd.store import events, trades
from zmartd.store.events import EventPageKey
from zmartd.store.markets import MarketNotFound
from zmartd.store.trades import PricePageKey

Percent = Annotated[float, Meta(ge=0, le=100, description="a price in percent, from 0 to 100")]


class PriceHistoryQuery(Struct, frozen=True, kw_only=True):
    limit: LongLimit = 100
    cursor: NextCursor = None


class PastPrice(Struct, frozen=True, kw_only=True):
    """Both prices at one time."""

    timestamp: Time
    """The time of the trade after which the prices are these; the market's creation for the initial ones."""
    price_yes: Price
    """The price of a YES share in SOL, from 0 to 1."""
    price_no: Price
    """The price of a NO share in SOL, from 0 to 1: 1 - price_yes."""
    yes: Annotated[Percent, DEPRECATED]
    """100 x price_yes."""
    no: Annotated[Percent, DEPRECATED]
    """100 x price_no."""


class MarketPriceHistory(Struct, frozen=True):
    """The prices after the newest trades, oldest first.

    `next_cursor` leads to the prices before them. The last page begins with the market's initial prices, 0.5
    each.
    """

    market_id: MarketKey
    price_history: tuple[PastPrice, ...]
    """The prices of this page."""
    count: int
    """The length of this page."""
    total: Annotated[
        int | None,
        Meta(
            description="the number of prices on all pages: one after each trade, and the initial ones;"
            " null where trades of the market could not be read"
        ),
    ]
    next_cursor: str | None
    """The cursor of the page with older prices; null where this page has the initial prices."""


class EventsQuery(Struct, frozen=True, kw_only=True):
    limit: Limit = 50
    offset: Offset = None
    cursor: NextCursor = None


class EventBody(Struct, frozen=True):
    """One event of the program with its position on the chain."""

    name: str
    """The event's name in the program's IDL."""
    tx_signature: str
    """The signature of the event's transaction, base58."""
    event_index: int
    """The event's position among the program's events in the transaction, from 0."""
    slot: int
    """The slot of the event's transaction."""
    occurred_at: Time | None
    """The time of the event's block; null where it is not known."""
    actor: str | None
    """The address of the wallet that acted; null where the event does not say."""
    commitment: Commitment
    """The commitment of the event."""
    data: dict[str, Any]
    """The event's fields under the program's own names, with what its transaction adds to them: addresses in
    base58, bytes in hexadecimal, amounts as decimal strings, times in unix seconds.
    """


class EventList(Struct, frozen=True):
    """The events that changed a market's state or recorded its votes, newest first."""

    market_id: MarketKey
    events: tuple[EventBody, ...]
    """The events of this page."""
    count: PageLength
    total: int
    """The number of events on all pages."""
    next_cursor: NextPage


async def get_price_history(call: Call[PriceHistoryQuery]) -> MarketPriceHistory:
    query = call.input
    before = decode_cursor(query.cursor, PricePageKey)
    async with call.database.reader(call.caller) as connection:
        market = await any_market(connection, call.path["id"])
        page = await trades.price_history(connection, market.id, query.limit, before)
    points = [_past_price(iso_time(point.at), point.price_yes) for point in reversed(page.rows)]
    if len(points) < query.limit:
        points.insert(0, _past_price(iso_time(market.created_at), SCALE // 2))
    return MarketPriceHistory(market.id, tuple(points), len(points), page.total, encode_cursor(page.next_key))


async def list_events(call: Call[EventsQuery]) -> EventList:
    query = call.input
    after = start_key(query, EventPageKey)
    async with call.database.reader(call.caller) as connection:
        market = await any_market(connection, call.path["id"])
        page = await events.page(connection, market.id, query.limit, offset=query.offset or 0, after=after)
    bodies = tuple(
        EventBody(
            name=event.event_type,
            tx_signature=event.tx_signature,
            event_index=event.event_index,
            slot=event.slot,
            occurred_at=iso_time_or_none(event.block_time),
            actor=event.actor,
            commitment=event.commitment,
            data=event_fields(event.payload),
        )
        for event in page.rows
    )
    return EventList(market.id, bodies, len(bodies), page.total, encode_cursor(page.next_key))


def _past_price(timestamp: str, price_yes: int) -> PastPrice:
    return PastPrice(
        timestamp=timestamp,
        price_yes=price(price_yes),
        price_no=price(SCALE - price_yes),
        **earlier_answers.of_a_price(price_yes),
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/markets/{id}/price-history",
        handler=get_price_history,
        shows_market=True,
        summary="The prices of a market after its newest trades",
        tag="markets",
        access=Access.PUBLIC,
        query=PriceHistoryQuery,
        responses={200: MarketPriceHistory},
        errors=(MarketNotFound,),
        from_replica=True,
    ),
    Operation(
        method="GET",
        path="/api/markets/{id}/events",
        handler=list_events,
        shows_market=True,
        name="list_market_events",
        summary="The audit trail of a market, newest first",
        tag="markets",
        access=Access.PUBLIC,
        query=EventsQuery,
        responses={200: EventList},
        errors=(MarketNotFound,),
        from_replica=True,
    ),
)

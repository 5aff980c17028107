"""What happened to a market: its prices, what its trades add up to, its events."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from zmartd.http.kit import keys
from zmartd.http.kit.fields import (
    Amount,
    Commitment,
    MarketKey,
    Time,
    amount,
)
from zmartd.http.kit.operation import Call, Operation
from zmartd.http.kit.pagination import (
    Limit,
    LongLimit,
    NextCursor,
    NextPage,
    Offset,
    PageLength,
    beginning,
    cursor_of,
    place_of,
)
from zmartd.http.markets.lookup import find_market
from zmartd.market.iso_time import iso_time
from zmartd.market.lmsr import SCALE
from zmartd.store import events, trades
from zmartd.store.events import EventPageKey
from zmartd.store.markets import MarketNotFound
from zmartd.store.trades import PricePageKey

Percent = Annotated[float, Meta(ge=0, le=100, description="a price in percent, from 0 to 100")]


class PriceHistoryQuery(Struct, frozen=True, kw_only=True):
    limit: LongLimit = 100
    cursor: NextCursor = None


class PricePercent(Struct, frozen=True):
    """Both prices at one time, in percent."""

    timestamp: Time
    """When the trade was made that led to these prices; of the first prices when the market was."""
    yes: Percent
    no: Percent


class PriceHistory(Struct, frozen=True):
    """The prices after the newest trades, oldest first.

    `next_cursor` leads to those before them, and in the end to the market's beginning, at half and half.
    """

    market_id: MarketKey
    price_history: tuple[PricePercent, ...]
    """The prices of this page."""
    count: int
    """The length of this page."""
    next_cursor: str | None
    """The cursor of the page with older prices; null where the market's beginning is on this one."""


class Statistics(Struct, frozen=True):
    """What a market's trades add up to, in lamports: purchases with fees, sales before fees."""

    total_volume: Amount
    """Lamports of purchases and sales."""
    total_trades: int
    """All trades in the market."""
    unique_traders: int
    """Wallets that have ever traded here."""
    buy_volume: Amount
    """Lamports of purchases, with fees."""
    sell_volume: Amount
    """Lamports of sales, before fees."""


class MarketStatistics(Struct, frozen=True):
    market_id: MarketKey
    stats: Statistics
    """Zeros for a market that nobody has traded in."""


class EventsQuery(Struct, frozen=True, kw_only=True):
    limit: Limit = 50
    offset: Offset = 0
    cursor: NextCursor = None


class EventBody(Struct, frozen=True):
    """One event of the program with its place on the chain."""

    name: str
    """The event's name in the program's IDL."""
    signature: str
    """The signature of the event's transaction, base58."""
    event_index: int
    """Where among the program's events in the transaction the event stands, from 0."""
    slot: int
    """The slot of the event's transaction."""
    occurred_at: Time | None
    """When it happened, by the chain's clock; null where that is not known."""
    actor: str | None
    """The address of the wallet that made it happen; null where the event does not say."""
    commitment: Commitment
    """How far the chain has settled on the event."""
    data: dict[str, Any]
    """The event's fields, and what else its transaction says of it: addresses in base58, bytes in
    hexadecimal, 64-bit integers as decimal strings.
    """


class EventList(Struct, frozen=True):
    """A market's changes of state and recorded counts, newest first."""

    market_id: MarketKey
    events: tuple[EventBody, ...]
    """Those of this page."""
    count: PageLength
    next_cursor: NextPage


async def price_history(call: Call[PriceHistoryQuery]) -> PriceHistory:
    query = call.input
    before = place_of(query.cursor, PricePageKey)
    async with call.app[keys.DATABASE].caller(call.caller) as connection:
        market = await find_market(connection, call.path["id"])
        page = await trades.price_history(connection, market.id, query.limit, before)
    points = [_percent(iso_time(point.at), point.price_yes) for point in reversed(page.rows)]
    if len(points) < query.limit:
        points.insert(0, _percent(market.created_at, SCALE // 2))
    return PriceHistory(market.id, tuple(points), len(points), cursor_of(page.next_key))


async def statistics(call: Call[None]) -> MarketStatistics:
    database = call.app[keys.DATABASE]
    async with database.caller(call.caller) as connection:
        market = await find_market(connection, call.path["id"])
    async with database.service() as connection:
        sums = await trades.statistics(connection, market.id)
    stats = Statistics(
        total_volume=amount(sums.total_volume),
        total_trades=sums.trades,
        unique_traders=sums.traders,
        buy_volume=amount(sums.buy_volume),
        sell_volume=amount(sums.sell_volume),
    )
    return MarketStatistics(market.id, stats)


async def list_events(call: Call[EventsQuery]) -> EventList:
    query = call.input
    after = beginning(query, EventPageKey)
    async with call.app[keys.DATABASE].caller(call.caller) as connection:
        market = await find_market(connection, call.path["id"])
        page = await events.page(connection, market.id, query.limit, offset=query.offset, after=after)
    bodies = tuple(
        EventBody(
            name=event.event_type,
            signature=event.tx_signature,
            event_index=event.event_index,
            slot=event.slot,
            occurred_at=None if event.block_time is None else iso_time(event.block_time),
            actor=event.actor,
            commitment=event.commitment,
            data=event.payload,
        )
        for event in page.rows
    )
    return EventList(market.id, bodies, len(bodies), cursor_of(page.next_key))


def _percent(timestamp: str, price_yes: int) -> PricePercent:
    return PricePercent(timestamp, price_yes * 100 / SCALE, (SCALE - price_yes) * 100 / SCALE)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/markets/{id}/price-history",
        handler=price_history,
        summary="A market's prices after its newest trades",
        tag="markets",
        query=PriceHistoryQuery,
        answers={200: PriceHistory},
        errors=(MarketNotFound,),
    ),
    Operation(
        method="GET",
        path="/api/markets/{id}/stats",
        handler=statistics,
        summary="What a market's trades add up to",
        tag="markets",
        answers={200: MarketStatistics},
        errors=(MarketNotFound,),
    ),
    Operation(
        method="GET",
        path="/api/markets/{id}/events",
        handler=list_events,
        summary="A market's audit trail, newest first",
        tag="markets",
        query=EventsQuery,
        answers={200: EventList},
        errors=(MarketNotFound,),
    ),
)

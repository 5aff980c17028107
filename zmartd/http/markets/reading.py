"""Reading markets: the list, one market, and what happened to it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from aiohttp import web
from asyncpg import Connection
from msgspec import Meta, Struct

from zmartd.http.auth.identity import caller_of
from zmartd.http.errors.requests import InvalidRequest, MarketPending, Problem
from zmartd.http.kit import keys
from zmartd.http.kit.codec import decode_query, json_response
from zmartd.http.kit.fields import (
    Amount,
    Category,
    Commitment,
    Field,
    MarketKey,
    MarketRef,
    State,
    Text,
    Time,
    Wallet,
    amount,
)
from zmartd.http.kit.operation import Operation
from zmartd.http.kit.pagination import NextCursor, Offset, beginning
from zmartd.http.kit.place import Cursor, NextPage, PageLength, cursor_of, foreign_cursor, place_of
from zmartd.http.markets.body import MarketBody, MarketToday, market_body, market_today, pending_body
from zmartd.http.trading.body import TradeBody
from zmartd.http.trading.pages import TradesLimit, TradesQuery, read_trades
from zmartd.market.iso_time import iso_time
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE
from zmartd.store import discovery, events, market_list, markets, metadata, trades
from zmartd.store.events import EventPlace
from zmartd.store.market_list import DIRECTIONS, Direction, MarketFilter, MarketPlace, Order, Sort
from zmartd.store.markets import Market, MarketNotFound
from zmartd.store.trades import PricePlace, TradeFilter

Limit = Annotated[int, Meta(ge=0, le=100, description="a whole number from 0 to 100")]
PageNumber = Annotated[int, Meta(ge=1, le=10_000)]
Percent = Annotated[float, Meta(ge=0, le=100, description="a price in percent, from 0 to 100")]


class States(Field, tuple[State, ...]):
    """Market states, by name or number, with commas between them."""

    schema: ClassVar[dict[str, Any]] = {"type": "string", "pattern": "^[A-Za-z0-6]+(,[A-Za-z0-6]+)*$"}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        names = str(raw).split(",")
        if len(names) > len(MarketState):
            raise ValueError("more states than there are")
        return cls(State.parse(name.strip()) for name in names)


class SearchWords(Text):
    """Words to search for."""

    shortest = 1
    longest = 200


class TagText(Text):
    """A market's tag."""

    shortest = 1
    longest = 30


class MarketsQuery(Struct, frozen=True, kw_only=True):
    """Places deep in the list are reached fastest by `cursor`, which goes with no `offset` or `page`."""

    q: Annotated[
        SearchWords | None,
        Meta(description="a text of 1 to 200 characters"),
    ] = None
    """What question, tags or description have, as one types it into a search engine: `"a phrase"`,
    `-without`, `this or that`. The last word may be the beginning of one.
    """
    state: Annotated[
        States | None, Meta(description="market states, by name or number, with commas between them")
    ] = None
    category: Annotated[Category | None, Meta(description=f"one of {', '.join(Category.ALL)}")] = None
    creator: Annotated[Wallet | None, Meta(description="a wallet's address")] = None
    tag: Annotated[TagText | None, Meta(description="a text of 1 to 30 characters")] = None
    sort: Annotated[
        Sort | None,
        Meta(
            description="newest, volume, ending_soon (those that have not ended), trending or relevance,"
            " which needs q and is what q is sorted by"
        ),
    ] = None
    order: Annotated[Direction | None, Meta(description="asc or desc")] = None
    limit: Limit = 20
    offset: Offset = 0
    page: Annotated[PageNumber | None, Meta(description="a whole number from 1 to 10000")] = None
    cursor: Annotated[Cursor | None, Meta(description="a next_cursor of this list")] = None


class MarketList(Struct, frozen=True):
    """Some markets; `count` is how many match in all."""

    markets: tuple[MarketBody, ...]
    """Those of this page."""
    count: int
    """How many markets match, on all pages."""
    offset: int
    """How many markets were skipped, by offset or page."""
    limit: int
    """The most there can be on a page, as asked for."""
    next_cursor: NextPage


class TradeList(Struct, frozen=True):
    """A market's trades, newest first; `count` is the length of this page."""

    trades: tuple[TradeBody, ...]
    """Those of this page."""
    count: PageLength
    market_id: MarketKey
    next_cursor: NextPage


class PriceHistoryQuery(Struct, frozen=True, kw_only=True):
    limit: TradesLimit = 100
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


def market_ref(request: web.Request) -> str:
    """The id or address in the path. Raises MarketNotFound for what cannot be either."""
    try:
        return str(MarketRef.parse(request.match_info["id"]))
    except ValueError as error:
        raise MarketNotFound(
            "A market is named by its id, 64 hexadecimal digits, or by its address on the chain."
        ) from error


async def find_market(connection: Connection, reference: str) -> MarketBody:
    """The market with this id or address, on the chain or registered for it. Raises MarketNotFound."""
    market = await markets.find(connection, reference)
    if market is not None:
        return market_body(market)
    registration = await metadata.find(connection, reference)
    if registration is not None:
        return pending_body(registration)
    raise MarketNotFound(market=reference)


async def chain_market(connection: Connection, reference: str) -> Market:
    """The market with this id or address on the chain. Raises MarketNotFound, or MarketPending."""
    market = await markets.find(connection, reference)
    if market is not None:
        return market
    if await metadata.find(connection, reference) is not None:
        raise MarketPending(market=reference)
    raise MarketNotFound(market=reference)


async def list_markets(request: web.Request) -> web.Response:
    """What `q` finds comes the best match first, anything else the newest first, unless `sort` says so."""
    query = decode_query(request, MarketsQuery)
    where = MarketFilter(
        states=tuple(MarketState(state) for state in query.state or ()),
        category=query.category,
        creator=query.creator,
        tag=query.tag,
        words=query.q,
    )
    order = _order(query)
    after = place_of(query.cursor, MarketPlace)
    if after is not None and after.order != order:
        raise foreign_cursor()
    if after is not None and (query.offset or query.page):
        raise InvalidRequest(Problem("cursor", "must be the only one of cursor, offset and page"))
    offset = query.offset if query.page is None else (query.page - 1) * query.limit
    async with request.app[keys.DATABASE].caller(caller_of(request)) as connection:
        page = await market_list.page(connection, where, order, query.limit, offset=offset, after=after)
    bodies = tuple(market_body(market) for market in page.markets)
    return json_response(MarketList(bodies, page.total, offset, query.limit, cursor_of(page.following)))


def _order(query: MarketsQuery) -> Order:
    sort = query.sort or ("newest" if query.q is None else "relevance")
    if sort == "relevance" and query.q is None:
        raise InvalidRequest(Problem("sort", "can only be relevance where q says what to search for"))
    return Order(sort, query.order or DIRECTIONS[sort])


async def get_market(request: web.Request) -> web.Response:
    database = request.app[keys.DATABASE]
    async with database.caller(caller_of(request)) as connection:
        body = await find_market(connection, market_ref(request))
    async with database.service() as connection:
        day = await discovery.day_of(connection, body.id)
    return json_response(market_today(body, day))


async def list_trades(request: web.Request) -> web.Response:
    query = decode_query(request, TradesQuery)
    caller = caller_of(request)
    async with request.app[keys.DATABASE].caller(caller) as connection:
        market = await find_market(connection, market_ref(request))
        page = await read_trades(connection, caller, TradeFilter(market_id=market.id), query)
    return json_response(TradeList(page.trades, len(page.trades), market.id, page.next_cursor))


async def price_history(request: web.Request) -> web.Response:
    query = decode_query(request, PriceHistoryQuery)
    before = place_of(query.cursor, PricePlace)
    async with request.app[keys.DATABASE].caller(caller_of(request)) as connection:
        market = await find_market(connection, market_ref(request))
        page = await trades.price_history(connection, market.id, query.limit, before)
    points = [_percent(iso_time(point.at), point.price_yes) for point in reversed(page.rows)]
    if len(points) < query.limit:
        points.insert(0, _percent(market.created_at, SCALE // 2))
    return json_response(PriceHistory(market.id, tuple(points), len(points), cursor_of(page.following)))


async def statistics(request: web.Request) -> web.Response:
    database = request.app[keys.DATABASE]
    async with database.caller(caller_of(request)) as connection:
        market = await find_market(connection, market_ref(request))
    async with database.service() as connection:
        sums = await trades.statistics(connection, market.id)
    stats = Statistics(
        total_volume=amount(sums.total_volume),
        total_trades=sums.trades,
        unique_traders=sums.traders,
        buy_volume=amount(sums.buy_volume),
        sell_volume=amount(sums.sell_volume),
    )
    return json_response(MarketStatistics(market.id, stats))


async def list_events(request: web.Request) -> web.Response:
    query = decode_query(request, EventsQuery)
    after = beginning(query, EventPlace)
    async with request.app[keys.DATABASE].caller(caller_of(request)) as connection:
        market = await find_market(connection, market_ref(request))
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
    return json_response(EventList(market.id, bodies, len(bodies), cursor_of(page.following)))


def _percent(timestamp: str, price_yes: int) -> PricePercent:
    return PricePercent(timestamp, price_yes * 100 / SCALE, (SCALE - price_yes) * 100 / SCALE)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/api/markets",
        handler=list_markets,
        summary="Markets: filtered, searched and sorted",
        tag="markets",
        query=MarketsQuery,
        answers={200: MarketList},
    ),
    Operation(
        method="GET",
        path="/api/markets/{id}",
        handler=get_market,
        summary="One market",
        tag="markets",
        answers={200: MarketToday},
        errors=(MarketNotFound,),
    ),
    Operation(
        method="GET",
        path="/api/markets/{id}/trades",
        handler=list_trades,
        summary="A market's trades, newest first",
        tag="markets",
        query=TradesQuery,
        answers={200: TradeList},
        errors=(MarketNotFound,),
    ),
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

"""The list of markets: filtered, searched and sorted."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta, Struct

from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit import keys
from zmartd.http.kit.fields import (
    Category,
    Field,
    Line,
    State,
    Text,
    Wallet,
)
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.kit.pagination import (
    Cursor,
    Limit,
    NextPage,
    Offset,
    PageLength,
    decode_cursor,
    encode_cursor,
    invalid_cursor,
)
from zmartd.http.markets.bodies import market_bodies
from zmartd.http.markets.schemas import MarketBody
from zmartd.http.response_cache.policies import CacheForAllMarkets
from zmartd.market.iso_time import utc_from_unix
from zmartd.market.lifecycle import MarketState
from zmartd.store import market_list
from zmartd.store.market_order import DIRECTIONS, Direction, MarketFilter, MarketPageKey, Order, Sort

PageNumber = Annotated[int, Meta(ge=1, le=10_000)]


class States(Field, tuple[State, ...]):
    """Market states by name or number, separated by commas."""

    schema: ClassVar[dict[str, Any]] = {"type": "string", "pattern": "^[A-Za-z0-6]+(,[A-Za-z0-6]+)*$"}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        names = str(raw).split(",")
        if len(names) > len(MarketState):
            raise ValueError("more states than there are")
        return cls(State.parse(name.strip()) for name in names)


class SearchWords(Text):
    """Words to search for."""

    min_length = 1
    max_length = 200


class TagText(Line):
    """A market's tag."""

    min_length = 1
    max_length = 30


class MarketsQuery(Struct, frozen=True, kw_only=True):
    """`cursor` is the fastest way to pages deep in the list. It excludes `offset` and `page`."""

    q: Annotated[
        SearchWords | None,
        Meta(description="a text of 1 to 200 characters"),
    ] = None
    """Searches question, tags and description with the syntax of search engines: `"a phrase"`, `-without`,
    `this or that`. The last word may be incomplete. Accents, case and width do not matter. Where few markets
    match, those with similar words follow, so that a mistyped name is found.
    """
    state: Annotated[
        States | None,
        Meta(
            description=f"one or more of {', '.join(state.name for state in MarketState)} or their numbers, "
            f"0 to {len(MarketState) - 1}, with commas between them"
        ),
    ] = None
    """Only markets in one of these states."""
    category: Annotated[Category | None, Meta(description=f"one of {', '.join(Category.ALL)}")] = None
    """Only markets of this category."""
    creator: Annotated[Wallet | None, Meta(description="a wallet's address, base58 of 32 bytes")] = None
    """Only markets that this wallet has created."""
    tag: Annotated[TagText | None, Meta(description="a text of 1 to 30 characters")] = None
    """Only markets with this tag."""
    sort: Annotated[
        Sort | None,
        Meta(
            description="newest, volume, ending_soon (those that have not ended), trending or relevance,"
            " which needs q and is what q is sorted by"
        ),
    ] = None
    """What the list is in order of."""
    order: Annotated[Direction | None, Meta(description="asc or desc")] = None
    """Which end of that order comes first: asc for ending_soon unless it is given, else desc."""
    limit: Limit = 20
    offset: Offset = None
    page: Annotated[PageNumber | None, Meta(description="a whole number from 1 to 10000")] = None
    """Which page of `limit` markets, instead of `cursor` or `offset`."""
    cursor: Annotated[Cursor | None, Meta(description="a next_cursor of this list")] = None


class MarketList(Struct, frozen=True):
    """A page of markets; `count` is its length, `total` the number of markets that match on all pages."""

    markets: tuple[MarketBody, ...]
    """The markets of this page."""
    count: PageLength
    total: int
    """The number of markets that match, on all pages."""
    offset: int
    """The number of markets before this page, as requested by offset or page."""
    limit: int
    """The maximum length of a page, as requested."""
    next_cursor: NextPage


async def list_markets(call: Call[MarketsQuery]) -> MarketList:
    """Without `sort`, the matches of `q` are sorted by relevance, and without `q` the newest come first."""
    query, order = call.input, _order(call.input)
    now = utc_from_unix(await call.app[keys.CHAIN_TIME]())
    where = MarketFilter(
        states=tuple(MarketState(state) for state in query.state or ()),
        category=query.category,
        creator=query.creator,
        tag=query.tag,
        ends_after=now if order.sort == "ending_soon" else None,
        words=query.q,
    )
    after = decode_cursor(query.cursor, MarketPageKey)
    if after is not None and after.order != order:
        raise invalid_cursor()
    places = [name for name in ("cursor", "offset", "page") if getattr(query, name) is not None]
    if len(places) > 1:
        raise InvalidRequest(
            Problem(places[0], f"contradicts {places[1]}: send only one of cursor, offset and page")
        )
    offset = (query.offset or 0) if query.page is None else (query.page - 1) * query.limit
    async with call.database.caller(call.caller) as connection:
        page = await market_list.page(connection, where, order, query.limit, offset=offset, after=after)
    bodies = await market_bodies(call.app, page.markets, call.database)
    return MarketList(bodies, len(bodies), page.total, offset, query.limit, encode_cursor(page.next_key))


def _order(query: MarketsQuery) -> Order:
    sort = query.sort or ("newest" if query.q is None else "relevance")
    if sort == "relevance" and query.q is None:
        raise InvalidRequest(Problem("sort", "can only be relevance where q says what to search for"))
    return Order(sort, query.order or DIRECTIONS[sort])


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/markets",
        handler=list_markets,
        summary="List markets: filter, search and sort",
        tag="markets",
        access=Access.PUBLIC,
        query=MarketsQuery,
        responses={200: MarketList},
        cache=CacheForAllMarkets("state", "category", "limit", "sort"),
        from_replica=True,
    ),
)

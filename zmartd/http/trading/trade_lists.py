"""Lists of trades: of a market, of all markets, and one's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from msgspec import Meta, Struct

from zmartd.http.errors.auth import AuthMissing
from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit import earlier_names
from zmartd.http.kit.fields import (
    MarketKey,
    MarketRef,
    Wallet,
)
from zmartd.http.kit.operation import MAX_EXPORT_ROWS, Access, Call, Export, ExportedRows, Operation
from zmartd.http.kit.pagination import (
    LongLimit,
    NextCursor,
    NextPage,
    Offset,
    PageLength,
    encode_cursor,
    start_key,
)
from zmartd.http.markets.lookup import any_market
from zmartd.http.markets.schemas import OutcomeFilter
from zmartd.http.trading.schemas import TradeBody, trade_body
from zmartd.store import trades
from zmartd.store.markets import MarketNotFound
from zmartd.store.postgres.reader import Reads
from zmartd.store.postgres.replica_errors import ReplicaUnusable
from zmartd.store.postgres.rls import Caller
from zmartd.store.postgres.sources import Source
from zmartd.store.trades import TradeFilter, TradePageKey

DEFAULT_LENGTH: Final = 50
"""The most trades on a page in JSON without a limit."""
_BATCH_ROWS: Final = 200
"""Trades of an export that are read at once."""


class TradesQuery(Struct, frozen=True, kw_only=True):
    """`cursor` never skips or repeats a trade; `offset` can, when trades are made between two pages."""

    limit: Annotated[LongLimit | None, Meta(description="a whole number from 0 to 200")] = None
    offset: Offset = None
    cursor: NextCursor = None

    @property
    def page_length(self) -> int:
        """The most trades on a page in JSON."""
        return DEFAULT_LENGTH if self.limit is None else self.limit


class TradePage(Struct, frozen=True):
    """A page of trades, and the cursor of the next page."""

    trades: tuple[TradeBody, ...]
    total: int | None
    next_cursor: str | None


async def read_trades(database: Source, caller: Caller, where: TradeFilter, query: TradesQuery) -> TradePage:
    """The page that `query` requests, as `caller` may see it. Raises InvalidRequest."""
    after = start_key(query, TradePageKey)
    # How many trades a wallet has made is in its positions, which are private.
    is_private = where.wallet not in (None, caller.wallet)
    async with database.service_reader() if is_private else database.reader(caller) as connection:
        page = await trades.counted_page(
            connection, caller, where, query.page_length, offset=query.offset or 0, after=after
        )
    return TradePage(
        tuple(trade_body(trade) for trade in page.rows), page.total, encode_cursor(page.next_key)
    )


FindTrades = Callable[[Call[Any], Reads], Awaitable[TradeFilter]]
"""Which trades a call is about. Takes a reader of its caller. Raises what its handler does."""


def export_of(find: FindTrades) -> Export[Any]:
    """The export of the trades that `find` finds."""

    async def read(call: Call[TradesQuery]) -> ExportedRows:
        query = call.input
        if query.offset:
            raise InvalidRequest(Problem("offset", "must be 0 in CSV and JSON Lines; go on with cursor"))
        after = start_key(query, TradePageKey)
        limit = MAX_EXPORT_ROWS if query.limit is None else query.limit
        async with call.database.reader(call.caller) as connection:
            where = await find(call, connection)
            end = await trades.end_of_page(connection, where, limit, after) if limit else None
        return ExportedRows(_batches(call, where, after, end) if limit else _nothing(), end)

    return Export(TradeBody, read)


async def _batches(
    call: Call[Any], where: TradeFilter, after: TradePageKey | None, end: TradePageKey | None
) -> AsyncIterator[Sequence[TradeBody]]:
    """The trades after `after`, and up to `end` if that is not None. Each batch is read when it is wanted."""
    caller = call.caller
    while True:
        try:
            async with call.database.reader(caller) as connection:
                page = await trades.page(connection, caller, where, _BATCH_ROWS, after=after, until=end)
        except ReplicaUnusable:
            call.replica = None
            continue
        yield [trade_body(trade) for trade in page.rows]
        if page.next_key is None:
            return
        after = page.next_key


async def _nothing() -> AsyncIterator[Sequence[TradeBody]]:
    return
    yield


class TradeList(Struct, frozen=True):
    """A market's trades, newest first; `count` is the length of this page."""

    trades: tuple[TradeBody, ...]
    """The trades of this page."""
    count: PageLength
    total: Annotated[
        int | None,
        Meta(description="the number of trades on all pages; null where some of them could not be read"),
    ]
    market_id: MarketKey
    next_cursor: NextPage


class FilteredTradesQuery(TradesQuery, frozen=True, kw_only=True):
    ALIASES: ClassVar[Mapping[str, str]] = earlier_names.OF_A_TRADE_FILTER

    market_id: Annotated[
        MarketRef | None, Meta(description="a market's id, 64 hexadecimal digits, or address")
    ] = None
    outcome: Annotated[OutcomeFilter | None, Meta(description="true for YES or false for NO")] = None
    """Only trades of this outcome."""
    trade_type: Annotated[Literal["buy", "sell"] | None, Meta(description="buy or sell")] = None
    """Only purchases, or only sales."""


class AllTradesQuery(FilteredTradesQuery, frozen=True, kw_only=True):
    """Only callers who have signed in can filter by wallet."""

    ALIASES: ClassVar[Mapping[str, str]] = earlier_names.OF_A_TRADE_FILTER | earlier_names.OF_A_TRADER

    wallet: Annotated[Wallet | None, Meta(description="a wallet's address, base58 of 32 bytes")] = None
    """Only trades of this wallet."""


class FilteredTrades(Struct, frozen=True, kw_only=True):
    """Trades, newest first; `count` is the length of this page."""

    trades: tuple[TradeBody, ...]
    """The trades of this page."""
    count: PageLength
    total: Annotated[
        int | None,
        Meta(
            description="the number of trades on all pages, where there is a counter of it: for trades of a"
            " market, of a wallet, or of both. Null for the trades of everybody (`GET /api/stats` has their"
            " number), with `outcome` or `trade_type`, and where some of the trades could not be read"
        ),
    ]
    offset: int
    """The number of trades before this page, as requested."""
    limit: int
    """The maximum length of a page, as requested."""
    next_cursor: NextPage


async def list_market_trades(call: Call[TradesQuery]) -> TradeList:
    """Wallets are shortened for anonymous callers. Without a limit there are 50 trades."""
    caller = call.caller
    async with call.database.reader(caller) as connection:
        where = await _of_market(call, connection)
    page = await read_trades(call.database, caller, where, call.input)
    assert where.market_id is not None, "the path names it"
    return TradeList(page.trades, len(page.trades), page.total, where.market_id, page.next_cursor)


async def list_all_trades(call: Call[AllTradesQuery]) -> FilteredTrades:
    """Wallets are shortened for anonymous callers. Without a limit there are 50 trades."""
    return await _list(call, _of_anyone)


async def list_own_trades(call: Call[FilteredTradesQuery]) -> FilteredTrades:
    """The trades of the wallet that is signed in. Without a limit there are 50."""
    return await _list(call, _of_caller)


async def _list(call: Call[Any], find: FindTrades) -> FilteredTrades:
    caller, query = call.caller, call.input
    async with call.database.reader(caller) as connection:
        where = await find(call, connection)
    page = await read_trades(call.database, caller, where, query)
    return FilteredTrades(
        trades=page.trades,
        count=len(page.trades),
        total=page.total,
        offset=query.offset or 0,
        limit=query.page_length,
        next_cursor=page.next_cursor,
    )


async def _of_market(call: Call[TradesQuery], connection: Reads) -> TradeFilter:
    return TradeFilter(market_id=(await any_market(connection, call.path["id"])).id)


async def _of_anyone(call: Call[AllTradesQuery], connection: Reads) -> TradeFilter:
    wallet = call.input.wallet
    if wallet is not None:
        call.identity.require_wallet(
            "Anonymous callers see wallets shortened. Sign in first with POST /api/auth/login, or leave"
            " wallet out."
        )
    return await _filter(call.input, wallet, connection)


async def _of_caller(call: Call[FilteredTradesQuery], connection: Reads) -> TradeFilter:
    return await _filter(call.input, call.wallet, connection)


async def _filter(query: FilteredTradesQuery, wallet: str | None, connection: Reads) -> TradeFilter:
    reference = query.market_id
    outcome = None if query.outcome is None else bool(query.outcome)
    market_id = None if reference is None else (await any_market(connection, reference)).id
    return TradeFilter(market_id, wallet, outcome, query.trade_type)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/markets/{id}/trades",
        handler=list_market_trades,
        shows_market=True,
        summary="A market's trades, newest first",
        tag="markets",
        access=Access.PUBLIC,
        query=TradesQuery,
        responses={200: TradeList},
        export=export_of(_of_market),
        errors=(MarketNotFound,),
        from_replica=True,
    ),
    Operation(
        method="GET",
        path="/api/trades",
        handler=list_all_trades,
        summary="Trades in all markets, newest first",
        tag="trades",
        access=Access.PUBLIC,
        query=AllTradesQuery,
        responses={200: FilteredTrades},
        export=export_of(_of_anyone),
        errors=(MarketNotFound, AuthMissing),
        from_replica=True,
    ),
    Operation(
        method="GET",
        path="/api/trades/history",
        handler=list_own_trades,
        summary="The caller's own trades, newest first",
        tag="trades",
        query=FilteredTradesQuery,
        responses={200: FilteredTrades},
        export=export_of(_of_caller),
        errors=(MarketNotFound,),
        access=Access.WALLET,
        from_replica=True,
    ),
)

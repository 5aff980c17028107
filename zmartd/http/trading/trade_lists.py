"""Lists of trades: of a market, of all markets, and one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from zmartd.http.errors.auth import AuthMissing
from zmartd.http.kit import earlier_names, keys
from zmartd.http.kit.fields import (
    MarketKey,
    MarketRef,
    Wallet,
)
from zmartd.http.kit.operation import Access, Call, Operation
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
from zmartd.http.trading.schemas import TradeBody, trade_body
from zmartd.store import trades
from zmartd.store.markets import MarketNotFound
from zmartd.store.postgres.reader import Reads
from zmartd.store.postgres.rls import Caller
from zmartd.store.trades import TradeFilter, TradePageKey


class TradesQuery(Struct, frozen=True, kw_only=True):
    """`cursor` never skips or repeats a trade; `offset` can, when trades are made between two pages."""

    limit: LongLimit = 50
    offset: Offset = 0
    cursor: NextCursor = None


class TradePage(Struct, frozen=True):
    """A page of trades, and the cursor of the next page."""

    trades: tuple[TradeBody, ...]
    next_cursor: str | None


async def read_trades(connection: Reads, caller: Caller, where: TradeFilter, query: TradesQuery) -> TradePage:
    """The page that `query` requests. `connection` acts for `caller`. Raises InvalidRequest."""
    after = start_key(query, TradePageKey)
    page = await trades.page(connection, caller, where, query.limit, offset=query.offset, after=after)
    return TradePage(tuple(trade_body(trade) for trade in page.rows), encode_cursor(page.next_key))


class TradeList(Struct, frozen=True):
    """A market's trades, newest first; `count` is the length of this page."""

    trades: tuple[TradeBody, ...]
    """The trades of this page."""
    count: PageLength
    market_id: MarketKey
    next_cursor: NextPage


class FilteredTradesQuery(TradesQuery, frozen=True, kw_only=True):
    market_id: Annotated[MarketRef | None, Meta(description="a market's id or address")] = None
    outcome: Annotated[bool | None, Meta(description="true for YES or false for NO")] = None
    type: Annotated[Literal["buy", "sell"] | None, Meta(description="buy or sell")] = None


class AllTradesQuery(FilteredTradesQuery, frozen=True, kw_only=True):
    """Only callers who have signed in can filter by wallet."""

    ALIASES: ClassVar[Mapping[str, str]] = earlier_names.OF_A_TRADER

    wallet: Annotated[Wallet | None, Meta(description="a wallet's address")] = None


class FilteredTrades(Struct, frozen=True, kw_only=True):
    """Trades, newest first; `count` is the length of this page."""

    trades: tuple[TradeBody, ...]
    """The trades of this page."""
    count: PageLength
    offset: int
    """The number of trades before this page, as requested."""
    limit: int
    """The maximum length of a page, as requested."""
    next_cursor: NextPage


async def list_market_trades(call: Call[TradesQuery]) -> TradeList:
    query = call.input
    caller = call.caller
    async with call.app[keys.DATABASE].reader(caller) as connection:
        market = await any_market(connection, call.path["id"])
        page = await read_trades(connection, caller, TradeFilter(market_id=market.id), query)
    return TradeList(page.trades, len(page.trades), market.id, page.next_cursor)


async def list_all_trades(call: Call[AllTradesQuery]) -> FilteredTrades:
    """Wallets are shortened for anonymous callers."""
    query = call.input
    if query.wallet is not None:
        call.identity.require_wallet()
    return await _list(call, query, query.wallet)


async def list_own_trades(call: Call[FilteredTradesQuery]) -> FilteredTrades:
    """The trades of the wallet that is signed in."""
    return await _list(call, call.input, call.wallet)


async def _list(call: Call[Any], query: FilteredTradesQuery, wallet: str | None) -> FilteredTrades:
    caller = call.caller
    async with call.app[keys.DATABASE].reader(caller) as connection:
        market_id = await _market_id(connection, query.market_id)
        where = TradeFilter(market_id, wallet, query.outcome, query.type)
        page = await read_trades(connection, caller, where, query)
    return FilteredTrades(
        trades=page.trades,
        count=len(page.trades),
        offset=query.offset,
        limit=query.limit,
        next_cursor=page.next_cursor,
    )


async def _market_id(connection: Reads, reference: str | None) -> str | None:
    return None if reference is None else (await any_market(connection, reference)).id


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/markets/{id}/trades",
        handler=list_market_trades,
        summary="A market's trades, newest first",
        tag="markets",
        access=Access.PUBLIC,
        query=TradesQuery,
        responses={200: TradeList},
        errors=(MarketNotFound,),
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
        errors=(MarketNotFound, AuthMissing),
    ),
    Operation(
        method="GET",
        path="/api/trades/history",
        handler=list_own_trades,
        summary="The caller's own trades, newest first",
        tag="trades",
        query=FilteredTradesQuery,
        responses={200: FilteredTrades},
        errors=(MarketNotFound,),
        access=Access.WALLET,
    ),
)

"""Pages of trades, whichever list they are of."""

from __future__ import annotations

from asyncpg import Connection
from msgspec import Struct

from zmartd.http.kit.pagination import LongLimit, NextCursor, Offset, beginning, cursor_of
from zmartd.http.trading.body import TradeBody, trade_body
from zmartd.store import trades
from zmartd.store.rls import Caller
from zmartd.store.trades import TradeFilter, TradePlace


class TradesQuery(Struct, frozen=True, kw_only=True):
    """`cursor` never skips or repeats a trade, whatever happens between two pages; `offset` can."""

    limit: LongLimit = 50
    offset: Offset = 0
    cursor: NextCursor = None


class TradePage(Struct, frozen=True):
    """Trades as the API shows them, and the cursor of the next page."""

    trades: tuple[TradeBody, ...]
    next_cursor: str | None


async def read_trades(
    connection: Connection, caller: Caller, where: TradeFilter, query: TradesQuery
) -> TradePage:
    """The page that `query` asks for. `connection` is one of `caller`. Raises InvalidRequest."""
    after = beginning(query, TradePlace)
    page = await trades.page(connection, caller, where, query.limit, offset=query.offset, after=after)
    return TradePage(tuple(trade_body(trade) for trade in page.rows), cursor_of(page.following))

"""Trades, the prices after them, and statistics over them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from asyncpg import Record
from msgspec import Meta, Struct

from zmartd.store.keyset import BigInt, Page, counted_rows, page_of, with_total
from zmartd.store.postgres.reader import Reads
from zmartd.store.postgres.rls import ANONYMOUS, AUTHENTICATED, Caller

_WALLET = {ANONYMOUS: "user_masked", AUTHENTICATED: "user_wallet"}
"""The column with the trader's wallet, as callers of each role may read it."""
_PAGE = """
select id, market_id, trader, trade_type, outcome, shares, cost, amount, protocol_fee,
       resolver_fee, lp_fee, exact, (price_after * 1000000000)::bigint as price_yes_after,
       (coalesce((select before.price_after from trades as before
                   where before.market_id = chosen.market_id and before.slot <= chosen.slot
                     and (before.slot < chosen.slot
                          or (coalesce(before.index_in_block, -1), before.id)
                             < (coalesce(chosen.index_in_block, -1), chosen.id))
                   order by before.slot desc, coalesce(before.index_in_block, -1) desc, before.id desc
                   limit 1), 0.5) * 1000000000)::bigint as price_yes_before,
       tx_signature, event_index, slot, block_time, commitment
  from (select id, market_id, {wallet} as trader, trade_type, outcome, shares, cost, amount, protocol_fee,
               resolver_fee, lp_fee, exact, price_after, tx_signature, event_index, slot, index_in_block,
               block_time, commitment
          from trades {where} {order} limit $1 offset $2) as chosen
 {order}
"""
"""The page is chosen first: the price before is looked up for its trades alone, and not for those that the
offset skips."""
_KEYS = "select slot, id from trades"
_NEWEST_FIRST = "order by slot desc, id desc"
_NOT_COUNTED = "null::bigint"
_IN_MARKET = """
(select case when bool_or(corrected_slot is not null) then null
             else coalesce(sum(trades_count), 0) end::bigint
   from markets where id = ${market})
"""
# There are few markets with trades that cannot be read.
_OF_WALLET = """
(select case when exists (
    select from (select id from markets where corrected_slot is not null offset 0) as corrected
     cross join lateral (select from user_positions as held
                          where market_id = corrected.id and {chosen} offset 0) as unread)
             then null
             else (select coalesce(sum(trades_count), 0) from user_positions as held where {chosen})
        end::bigint)
"""
_PRICES = """
select block_time, (price_after * 1000000000)::bigint as price_yes, slot,
       coalesce(index_in_block, -1) as in_block, id
  from trades where market_id = $1
"""
# Postgres underestimates how many rows match a row comparison, and would then sort all of them.
_PRICES_BEFORE = " and slot <= $3 and (slot < $3 or (coalesce(index_in_block, -1), id) < ($4, $5))"
_PRICES_NEWEST_FIRST = " order by slot desc, coalesce(index_in_block, -1) desc, id desc limit $2"
_PRICES_OF_MARKET = _IN_MARKET.format(market=1) + " + 1"
"""The prices after all trades, and the one with which the market began."""
_STATISTICS = """
select coalesce(sum(trades), 0)::bigint as trades,
       coalesce((select traders from market_traders where market_id = $1), 0) as traders,
       coalesce(sum(bought), 0) as buy_volume, coalesce(sum(volume - bought), 0) as sell_volume
  from candles where market_id = $1 and seconds = 86400
"""


class TradeRow(Struct, frozen=True):
    """One buy or sell. Amounts are lamports; shares and the price of YES have nine decimals."""

    id: int
    market_id: str
    trader: str
    """The wallet, shortened for anonymous callers."""
    trade_type: Literal["buy", "sell"]
    outcome: bool
    shares: int
    cost: int
    """A buyer's total with fees, or a seller's proceeds after fees."""
    amount: int
    """Before fees."""
    protocol_fee: int
    resolver_fee: int
    lp_fee: int
    exact: bool
    """False while an earlier trade of the market is unknown: then `amount` and the fees are estimates."""
    price_yes_after: int
    price_yes_before: int
    """The price after the trade before it in the market; one half for the first."""
    tx_signature: str
    event_index: int
    slot: int
    block_time: datetime
    commitment: str


class TradeFilter(Struct, frozen=True):
    """Which trades to list; None does not restrict."""

    market_id: str | None = None
    wallet: str | None = None
    outcome: bool | None = None
    trade_type: Literal["buy", "sell"] | None = None


class TradePage(Struct, frozen=True):
    """A page of trades, and how many there are on all pages, of one snapshot.

    Counters of the market and of the wallet's positions say how many. `total` is None where they do not: for
    trades of everybody, of one outcome or of one type, and where trades of a market cannot be read.
    """

    rows: tuple[TradeRow, ...]
    next_key: TradePageKey | None
    total: int | None


class TradePageKey(Struct, frozen=True, tag="trades/1"):
    """A page begins after this trade."""

    slot: BigInt
    id: BigInt


class PricePoint(Struct, frozen=True):
    """The price of YES after a trade, with nine decimals."""

    at: datetime
    price_yes: int


class PricePageKey(Struct, frozen=True, tag="prices/1"):
    """A page begins before this trade."""

    slot: BigInt
    in_block: Annotated[int, Meta(ge=-1, le=2**31 - 1)]
    """The index of its transaction in the block; -1 while that is unknown."""
    id: BigInt


class PricePage(Struct, frozen=True):
    """A page of prices, and how many there are on all pages, the one with which the market began included.

    Both are of one snapshot. `total` is None where trades of the market cannot be read.
    """

    rows: tuple[PricePoint, ...]
    next_key: PricePageKey | None
    total: int | None


class TradeStatistics(Struct, frozen=True):
    """Sums over a market's trades, in lamports: purchases with fees, sales before fees."""

    trades: int
    traders: int
    buy_volume: int
    sell_volume: int

    @property
    def total_volume(self) -> int:
        """As the program counts it."""
        return self.buy_volume + self.sell_volume


async def page(
    connection: Reads,
    caller: Caller,
    where: TradeFilter,
    limit: int,
    *,
    offset: int = 0,
    after: TradePageKey | None = None,
    until: TradePageKey | None = None,
) -> Page[TradeRow, TradePageKey]:
    """A page of trades, the newest first, from `offset` on or after the key `after`, and not beyond `until`.

    Takes a transaction or reader of `caller`. An anonymous caller cannot filter by wallet.
    """
    chosen, arguments = _chosen(where, after, until, [limit + 1, offset])
    query = _PAGE.format(wallet=_WALLET[caller.role], where=chosen, order=_NEWEST_FIRST)
    rows = await connection.fetch(query, *arguments)
    return page_of([_trade(row) for row in rows], limit, _key_of)


async def counted_page(
    connection: Reads,
    caller: Caller,
    where: TradeFilter,
    limit: int,
    *,
    offset: int = 0,
    after: TradePageKey | None = None,
) -> TradePage:
    """A page as `page` reads it, with the number of trades on all pages.

    Takes a transaction or reader of `caller`; for the trades of another wallet a service reader, because its
    positions are private.
    """
    chosen, arguments = _chosen(where, after, None, [limit + 1, offset])
    page_query = _PAGE.format(wallet=_WALLET[caller.role], where=chosen, order=_NEWEST_FIRST)
    total, arguments = _total(where, arguments)
    found = await connection.fetch(with_total(total, page_query, _NEWEST_FIRST), *arguments)
    rows, all_of_them = counted_rows(found)
    shown = page_of([TradeRow(**row) for row in rows], limit, _key_of)
    return TradePage(shown.rows, shown.next_key, all_of_them)


def _total(where: TradeFilter, arguments: list[Any]) -> tuple[str, list[Any]]:
    """The SQL of the number of these trades, from counters, and `arguments` with those that it adds."""
    is_everybody_s = where.market_id is None and where.wallet is None
    if is_everybody_s or where.outcome is not None or where.trade_type is not None:
        return _NOT_COUNTED, arguments
    arguments = list(arguments)
    if where.wallet is None:
        arguments.append(where.market_id)
        return _IN_MARKET.format(market=len(arguments)), arguments
    conditions = []
    for column, value in (("held.user_wallet", where.wallet), ("held.market_id", where.market_id)):
        if value is not None:
            arguments.append(value)
            conditions.append(f"{column} = ${len(arguments)}")
    return _OF_WALLET.format(chosen=" and ".join(conditions)), arguments


async def end_of_page(
    connection: Reads, where: TradeFilter, limit: int, after: TradePageKey | None = None
) -> TradePageKey | None:
    """The key of the last trade of a page of `limit`, at least 1; None if no trade follows that page."""
    chosen, arguments = _chosen(where, after, None, [limit - 1])
    rows = await connection.fetch(f"{_KEYS} {chosen} {_NEWEST_FIRST} limit 2 offset $1", *arguments)
    return TradePageKey(rows[0]["slot"], rows[0]["id"]) if len(rows) > 1 else None


def _chosen(
    where: TradeFilter, after: TradePageKey | None, until: TradePageKey | None, arguments: list[Any]
) -> tuple[str, list[Any]]:
    """The where clause, and `arguments` with those that it adds."""
    arguments = list(arguments)
    conditions = []
    for column, value in (
        ("market_id", where.market_id),
        ("user_wallet", where.wallet),
        ("outcome", where.outcome),
        ("trade_type", where.trade_type),
    ):
        if value is not None:
            arguments.append(value)
            conditions.append(f"{column} = ${len(arguments)}")
    for comparison, key in (("<", after), (">=", until)):
        if key is not None:
            conditions.append(f"(slot, id) {comparison} (${len(arguments) + 1}, ${len(arguments) + 2})")
            arguments += (key.slot, key.id)
    return f"where {' and '.join(conditions)}" if conditions else "", arguments


async def price_history(
    connection: Reads, market_id: str, limit: int, before: PricePageKey | None = None
) -> PricePage:
    """A page of the prices after a market's trades, the newest first.

    A full page always has a next key: the price with which the market began follows the last trade.
    """
    key = () if before is None else (before.slot, before.in_block, before.id)
    page_query = _PRICES + (_PRICES_BEFORE if key else "") + _PRICES_NEWEST_FIRST
    query = with_total(_PRICES_OF_MARKET, page_query, "order by slot desc, in_block desc, id desc")
    rows, total = counted_rows(await connection.fetch(query, market_id, limit, *key))
    points = tuple(PricePoint(row["block_time"], row["price_yes"]) for row in rows)
    if not rows or len(rows) < limit:
        return PricePage(points, None, total)
    return PricePage(points, PricePageKey(rows[-1]["slot"], rows[-1]["in_block"], rows[-1]["id"]), total)


async def statistics(connection: Reads, market_id: str) -> TradeStatistics:
    """The statistics of a market. Takes a service reader: it counts wallets."""
    row = await connection.fetchrow(_STATISTICS, market_id)
    assert row is not None, "an aggregate always has a row"
    return TradeStatistics(**dict(row))


def _key_of(trade: TradeRow) -> TradePageKey:
    return TradePageKey(trade.slot, trade.id)


def _trade(row: Record) -> TradeRow:
    return TradeRow(**dict(row))

"""The rows of trades and what they add up to: read for repricing, and written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.indexer.effects.configuration import RateHistory
from zmartd.indexer.events.rows import ChainPlace, EventRow
from zmartd.market.lmsr import SCALE
from zmartd.market.trade_pricing import PricedTrade, UnpricedTrade

_COLUMNS = """
       market_id, tx_signature, event_index, slot, index_in_block, trade_type = 'buy' as buys,
       outcome, shares, cost, (price_after * 1000000000)::bigint as price_yes_after,
       amount, protocol_fee, resolver_fee, lp_fee, exact
"""
_SINCE = f"""
select known.*
  from unnest($1::text[], $2::bigint[]) as reprice (market_id, from_slot)
 cross join lateral (
       select {_COLUMNS} from trades
        where trades.market_id = reprice.market_id and trades.slot >= reprice.from_slot
        order by trades.market_id, slot desc, id desc limit $3
       ) as known
"""  # noqa: S608 - constants
_BETWEEN = f"select {_COLUMNS} from trades where market_id = $1 and slot >= $2 and slot < $3"  # noqa: S608 - constants
_INSERT = """
insert into trades (market_id, user_wallet, trade_type, outcome, shares, cost, amount, protocol_fee,
                    resolver_fee, lp_fee, exact, price_after, tx_signature, event_index, slot, index_in_block,
                    block_time, commitment)
select market_id, user_wallet, trade_type, outcome, shares, cost, amount, protocol_fee, resolver_fee, lp_fee,
       exact, price::numeric / 1000000000, tx_signature, event_index, slot, index_in_block, block_time, $18
  from unnest($1::text[], $2::text[], $3::text[], $4::bool[], $5::numeric[], $6::numeric[], $7::numeric[],
              $8::numeric[], $9::numeric[], $10::numeric[], $11::bool[], $12::bigint[], $13::text[],
              $14::int[], $15::bigint[], $16::int[], $17::timestamptz[])
       as given (market_id, user_wallet, trade_type, outcome, shares, cost, amount, protocol_fee,
                 resolver_fee, lp_fee, exact, price, tx_signature, event_index, slot, index_in_block,
                 block_time)
"""
_REPRICE = """
update trades
   set amount = priced.amount, protocol_fee = priced.protocol_fee, resolver_fee = priced.resolver_fee,
       lp_fee = priced.lp_fee, exact = priced.exact
  from unnest($1::text[], $2::int[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[], $7::bool[])
       as priced (tx_signature, event_index, amount, protocol_fee, resolver_fee, lp_fee, exact)
 where trades.tx_signature = priced.tx_signature and trades.event_index = priced.event_index
"""
_MARKET_SUMS = """
update markets
   set shares_yes = shares_yes + added.yes, shares_no = shares_no + added.no,
       trades_count = trades_count + added.trades, current_liquidity = current_liquidity + added.liquidity,
       total_volume = total_volume + added.volume,
       accumulated_protocol_fees = accumulated_protocol_fees + added.protocol_fees,
       resolver_fees_earned = resolver_fees_earned + added.resolver_fees,
       lp_fees_earned = lp_fees_earned + added.lp_fees
  from unnest($1::text[], $2::numeric[], $3::numeric[], $4::int[], $5::numeric[], $6::numeric[],
              $7::numeric[], $8::numeric[], $9::numeric[])
       as added (id, yes, no, trades, liquidity, volume, protocol_fees, resolver_fees, lp_fees)
 where markets.id = added.id
"""
_POSITION_SUMS = """
insert into user_positions as held (market_id, user_wallet, shares_yes, shares_no, total_invested,
                                    total_returned, trades_count, first_trade_at, last_trade_at, slot)
select * from unnest($1::text[], $2::text[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[],
                     $7::int[], $8::timestamptz[], $9::timestamptz[], $10::bigint[])
on conflict (market_id, user_wallet) do update
   set shares_yes = held.shares_yes + excluded.shares_yes,
       shares_no = held.shares_no + excluded.shares_no,
       total_invested = held.total_invested + excluded.total_invested,
       total_returned = held.total_returned + excluded.total_returned,
       trades_count = held.trades_count + excluded.trades_count,
       first_trade_at = least(held.first_trade_at, excluded.first_trade_at),
       last_trade_at = greatest(held.last_trade_at, excluded.last_trade_at),
       slot = greatest(held.slot, excluded.slot),
       updated_at = now()
"""


class MarketSums(Struct):
    """What a batch adds to a market. Repricing earlier trades changes liquidity, fees and volume."""

    yes: int = 0
    no: int = 0
    trades: int = 0
    liquidity: int = 0
    volume: int = 0
    protocol_fees: int = 0
    resolver_fees: int = 0
    lp_fees: int = 0

    def count(self, trade: UnpricedTrade) -> None:
        shares = trade.shares if trade.buys else -trade.shares
        self.yes += shares if trade.outcome else 0
        self.no += 0 if trade.outcome else shares
        self.trades += 1
        self.volume += trade.cash_lamports if trade.buys else 0

    def add(self, priced: PricedTrade, sign: int) -> None:
        trade = priced.trade
        self.liquidity += sign * (priced.amount_lamports if trade.buys else -priced.amount_lamports)
        self.volume += 0 if trade.buys else sign * priced.amount_lamports
        self.protocol_fees += sign * priced.protocol_fee_lamports
        self.resolver_fees += sign * priced.resolver_fee_lamports
        self.lp_fees += sign * priced.lp_fee_lamports


class _PositionSums(Struct):
    """What a batch adds to one wallet's position."""

    first_at: datetime
    last_at: datetime
    yes: int = 0
    no: int = 0
    invested: int = 0
    returned: int = 0
    trades: int = 0
    slot: int = 0

    def count(self, trade: UnpricedTrade, at: datetime) -> None:
        shares = trade.shares if trade.buys else -trade.shares
        self.yes += shares if trade.outcome else 0
        self.no += 0 if trade.outcome else shares
        self.invested += trade.cash_lamports if trade.buys else 0
        self.returned += 0 if trade.buys else trade.cash_lamports
        self.trades += 1
        self.slot = max(self.slot, trade.slot)
        self.first_at, self.last_at = min(self.first_at, at), max(self.last_at, at)


async def trades_since(
    connection: Connection, start_slots: Mapping[str, int], history: RateHistory, most: int
) -> dict[str, list[PricedTrade]]:
    """The recorded trades of markets since these slots, by market id: of each the newest, `most` at most."""
    known: dict[str, list[PricedTrade]] = defaultdict(list)
    for row in await connection.fetch(_SINCE, list(start_slots), list(start_slots.values()), most):
        known[row["market_id"]].append(_priced_trade(row, history))
    return known


async def trades_between(
    connection: Connection, market_id: str, from_slot: int, before_slot: int, history: RateHistory
) -> list[PricedTrade]:
    """The recorded trades of a market from a slot on, before another."""
    rows = await connection.fetch(_BETWEEN, market_id, from_slot, before_slot)
    return [_priced_trade(row, history) for row in rows]


def _priced_trade(row: Record, history: RateHistory) -> PricedTrade:
    place = ChainPlace(row["slot"], row["index_in_block"], row["tx_signature"], row["event_index"])
    rates, *others = history.at(place)
    trade = UnpricedTrade(
        signature=row["tx_signature"],
        ordinal=row["event_index"],
        slot=row["slot"],
        index_in_block=row["index_in_block"],
        buys=row["buys"],
        outcome=row["outcome"],
        shares=row["shares"],
        cash_lamports=row["cost"],
        price_yes_after=row["price_yes_after"],
        rates=rates,
        other_rates=tuple(others),
    )
    return PricedTrade(
        trade, row["amount"], row["protocol_fee"], row["resolver_fee"], row["lp_fee"], row["exact"]
    )


async def write_trades(
    connection: Connection,
    inserted: Sequence[tuple[EventRow, PricedTrade]],
    repriced: Sequence[PricedTrade],
    sums: Mapping[str, MarketSums],
    commitment: str = "confirmed",
) -> None:
    """Write new trades and others that were priced anew, and add both to positions and markets.

    `sums` are what they add to each market. New ones get `commitment`.
    """
    if inserted:
        await connection.execute(_INSERT, *_columns([_trade_values(*one) for one in inserted]), commitment)
        positions = _positions(row_and_priced for row_and_priced in inserted)
        await connection.execute(
            _POSITION_SUMS,
            *_columns(
                [
                    (
                        market,
                        wallet,
                        p.yes,
                        p.no,
                        p.invested,
                        p.returned,
                        p.trades,
                        p.first_at,
                        p.last_at,
                        p.slot,
                    )
                    for (market, wallet), p in sorted(positions.items(), key=lambda item: item[0])
                ]
            ),
        )
    if repriced:
        await connection.execute(
            _REPRICE,
            *_columns(
                [(one.trade.signature, one.trade.ordinal, *_amounts(one), one.exact) for one in repriced]
            ),
        )
    changed = {market_id: added for market_id, added in sums.items() if added != MarketSums()}
    if changed:
        await connection.execute(
            _MARKET_SUMS,
            *_columns(
                [
                    (market_id, *(getattr(added, name) for name in MarketSums.__struct_fields__))
                    for market_id, added in changed.items()
                ]
            ),
        )


def _positions(inserted: Iterable[tuple[EventRow, PricedTrade]]) -> dict[tuple[str, str], _PositionSums]:
    positions: dict[tuple[str, str], _PositionSums] = {}
    for row, priced in inserted:
        at = row.occurred_at
        key = (row.market_id or "", row.actor or "")
        positions.setdefault(key, _PositionSums(at, at)).count(priced.trade, at)
    return positions


def _trade_values(row: EventRow, priced: PricedTrade) -> tuple[Any, ...]:
    trade = priced.trade
    return (
        row.market_id,
        row.actor,
        "buy" if trade.buys else "sell",
        trade.outcome,
        trade.shares,
        trade.cash_lamports,
        *_amounts(priced),
        priced.exact,
        min(trade.price_yes_after, SCALE),
        trade.signature,
        trade.ordinal,
        trade.slot,
        trade.index_in_block,
        row.occurred_at,
    )


def _amounts(priced: PricedTrade) -> tuple[int, int, int, int]:
    return (
        priced.amount_lamports,
        priced.protocol_fee_lamports,
        priced.resolver_fee_lamports,
        priced.lp_fee_lamports,
    )


def _columns(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """The columns of rows, as UNNEST takes them; there is at least one row."""
    return zip(*rows, strict=True)

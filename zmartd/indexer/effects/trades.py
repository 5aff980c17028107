"""Effects of trades on markets and positions: sums over events, with each amount read off the curve."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from asyncpg import Connection
from msgspec import Struct

from zmartd.chain.events import SharesBought, SharesSold
from zmartd.indexer.effects.batch import Batch
from zmartd.indexer.effects.configuration import RateHistory
from zmartd.indexer.events.rows import ChainPlace, EventRow
from zmartd.market import trade_pricing
from zmartd.market.errors import MarketMathError
from zmartd.market.fees import TradeFees
from zmartd.market.lmsr import SCALE, Curve
from zmartd.market.trade_pricing import PricedTrade, UnpricedTrade

_TAIL = """
select trades.market_id, tx_signature, event_index, trades.slot, index_in_block, trade_type = 'buy' as buys,
       outcome, shares, cost, (price_after * 1000000000)::bigint as price_yes_after,
       amount, protocol_fee, resolver_fee, lp_fee, exact
  from unnest($1::text[], $2::bigint[]) as reprice (market_id, slot)
  join markets as market on market.id = reprice.market_id
  join trades on trades.market_id = reprice.market_id
 where trades.slot > coalesce(market.corrected_slot, -1)
   and trades.slot >= least(
           reprice.slot,
           (select min(open.slot) from trades as open
             where open.market_id = reprice.market_id and not open.exact
               and open.slot > coalesce(market.corrected_slot, -1)))
"""
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


class StoredCurve(Struct, frozen=True):
    """A market's shares before a batch. `b_parameter` is None until the market's creation is known."""

    shares_yes: int
    shares_no: int
    b_parameter: int | None

    @property
    def curve(self) -> Curve | None:
        return None if self.b_parameter is None else Curve(self.shares_yes, self.shares_no, self.b_parameter)


class Fill(Struct, frozen=True):
    """What a trade came to: lamports before fees, the fees, and the price of YES before it."""

    amount_lamports: int
    fees: TradeFees
    price_yes_before: int


class AppliedTrades(Struct, frozen=True):
    """The markets that trades or repricing changed, and the fills of new trades by signature and ordinal."""

    changed: frozenset[str] = frozenset()
    fills: Mapping[tuple[str, int], Fill] = {}

    def and_then(self, later: AppliedTrades) -> AppliedTrades:
        """Both together."""
        return AppliedTrades(self.changed | later.changed, {**self.fills, **later.fills})


class _MarketSums(Struct):
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


async def apply_trades(
    connection: Connection,
    batch: Batch,
    curves: Mapping[str, StoredCurve],
    reprice_from: Mapping[str, int],
    history: RateHistory,
) -> AppliedTrades:
    """Apply new buys and sells, and reprice recorded trades from the slots in `reprice_from` (by market id).

    `curves` are the curves before the trades, one for each market with new trades or in `reprice_from`. Of a
    corrected market only the trades after its correction are repriced: its totals contain the others.
    """
    new_trades: dict[str, list[EventRow]] = defaultdict(list)
    for row in batch.rows:
        if row.market_id is not None and row.is_trade:
            new_trades[row.market_id].append(row)
    start_slots = dict(reprice_from)
    for market_id, of_market in new_trades.items():
        start_slots[market_id] = min(
            start_slots.get(market_id, of_market[0].slot), *(row.slot for row in of_market)
        )
    if not start_slots:
        return AppliedTrades()
    known = await _tail(connection, start_slots, history)
    sums: dict[str, _MarketSums] = {}
    inserted: list[tuple[EventRow, PricedTrade]] = []
    repriced: list[PricedTrade] = []
    fills: dict[tuple[str, int], Fill] = {}
    for market_id in sorted(start_slots):
        new = {row.key: row for row in new_trades.get(market_id, [])}
        before = {(one.trade.signature, one.trade.ordinal): one for one in known.get(market_id, [])}
        trades = [as_trade(row, history) for row in new.values()] + [one.trade for one in before.values()]
        start = _start(curves[market_id], [one.trade for one in before.values()])
        added = sums[market_id] = _MarketSums()
        price_yes_before = price_yes(start)
        for priced in trade_pricing.price_trades(start, trades):
            key = (priced.trade.signature, priced.trade.ordinal)
            if key in new:
                inserted.append((new[key], priced))
                fills[key] = Fill(priced.amount_lamports, _fees(priced), price_yes_before)
                added.count(priced.trade)
                added.add(priced, 1)
            elif priced != before[key]:
                repriced.append(priced)
                added.add(before[key], -1)
                added.add(priced, 1)
            price_yes_before = min(priced.trade.price_yes_after, SCALE)
    await _write(connection, inserted, repriced, sums, batch.commitment)
    changed = {market_id for market_id, added in sums.items() if added != _MarketSums()}
    return AppliedTrades(frozenset(changed | new_trades.keys()), fills)


def as_trade(row: EventRow, history: RateHistory) -> UnpricedTrade:
    """The trade of a SharesBought or SharesSold event, as input of the pricing."""
    event = row.event
    if not isinstance(event, SharesBought | SharesSold):
        raise TypeError(f"{row.event_type} is not a trade")
    rates, *others = history.at(row.place)
    return UnpricedTrade(
        signature=row.signature,
        ordinal=row.ordinal,
        slot=row.slot,
        index_in_block=row.index_in_block,
        buys=isinstance(event, SharesBought),
        outcome=event.outcome,
        shares=event.shares,
        cash_lamports=event.cost if isinstance(event, SharesBought) else event.proceeds,
        price_yes_after=event.new_price_yes,
        rates=rates,
        other_rates=tuple(others),
    )


def _start(curve: StoredCurve, tail: Iterable[UnpricedTrade]) -> Curve | None:
    """The curve just before the tail: the market's present shares without the tail's trades."""
    start = curve.curve
    if start is None:
        return None
    for trade in tail:
        start = trade_pricing.curve_before(start, trade)
    return start


def price_yes(curve: Curve | None) -> int:
    """The price of YES; one half where there is none, because events are missing."""
    if curve is None or min(curve.q_yes, curve.q_no) < 0:
        return SCALE // 2
    try:
        return curve.price_yes()
    except MarketMathError:
        return SCALE // 2


async def _tail(
    connection: Connection, start_slots: Mapping[str, int], history: RateHistory
) -> dict[str, list[PricedTrade]]:
    known: dict[str, list[PricedTrade]] = defaultdict(list)
    for row in await connection.fetch(_TAIL, list(start_slots), list(start_slots.values())):
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
        known[row["market_id"]].append(
            PricedTrade(
                trade, row["amount"], row["protocol_fee"], row["resolver_fee"], row["lp_fee"], row["exact"]
            )
        )
    return known


async def _write(
    connection: Connection,
    inserted: Sequence[tuple[EventRow, PricedTrade]],
    repriced: Sequence[PricedTrade],
    sums: Mapping[str, _MarketSums],
    commitment: str,
) -> None:
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
    changed = {market_id: added for market_id, added in sums.items() if added != _MarketSums()}
    if changed:
        await connection.execute(
            _MARKET_SUMS,
            *_columns(
                [
                    (market_id, *(getattr(added, name) for name in _MarketSums.__struct_fields__))
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


def _fees(priced: PricedTrade) -> TradeFees:
    parts = (priced.protocol_fee_lamports, priced.resolver_fee_lamports, priced.lp_fee_lamports)
    return TradeFees(*parts, sum(parts))


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

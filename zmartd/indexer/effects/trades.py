"""Effects of trades on markets and positions: sums over events, with each amount read off the curve."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.chain.events import SharesBought, SharesSold
from zmartd.indexer.effects.batch import Batch
from zmartd.indexer.effects.configuration import RateHistory
from zmartd.indexer.effects.curves import Repricing, StoredCurve, price_yes
from zmartd.indexer.effects.market_sums import MarketSums
from zmartd.indexer.effects.markets import created_markets
from zmartd.indexer.effects.repricing import count_repriced, put_repricings, repricing_after
from zmartd.indexer.effects.trade_rows import trades_since, write_trades
from zmartd.indexer.events.rows import EventRow
from zmartd.market import trade_pricing
from zmartd.market.fees import TradeFees
from zmartd.market.lmsr import SCALE, Curve
from zmartd.market.trade_pricing import PricedTrade, UnpricedTrade

MOST_REPRICED: Final = 200
"""How many recorded trades of a market a batch prices anew. Of more, all are left to the background."""
_MOST_MARKETS = 20
"""Of how many markets without new trades it does so."""
_PRICES_BEFORE = """
select given.number, before.slot, before.price
  from unnest($1::int[], $2::text[], $3::bigint[]) as given (number, market_id, slot)
 cross join lateral (
       select trades.slot, (price_after * 1000000000)::bigint as price from trades
        where trades.market_id = given.market_id and trades.slot < given.slot
        order by slot desc, id desc limit 1) as before
"""


class Fill(Struct, frozen=True):
    """What a trade came to: lamports before fees, the fees, and the price of YES before it."""

    amount_lamports: int
    fees: TradeFees
    price_yes_before: int


class AppliedTrades(Struct, frozen=True):
    """What trades and repricing came to. Their markets' rows are still as they were."""

    curves: Mapping[str, StoredCurve]
    """Those in the rows of the markets."""
    changed: frozenset[str] = frozenset()
    """The markets that they changed."""
    sums: Mapping[str, MarketSums] = {}
    """What is to be added to markets."""
    fills: Mapping[tuple[str, int], Fill] = {}
    """Of new trades, by signature and ordinal."""
    positions: Sequence[Record] = ()
    """The rows of user_positions that new trades are of, with them."""


class _Tails(Struct, frozen=True):
    """The recorded trades of markets from their start slots on, and the markets of which they are too many to
    be priced now.
    """

    start_slots: Mapping[str, int]
    known: Mapping[str, Sequence[PricedTrade]]
    deferred: Collection[str]

    def of(self, market_id: str) -> Sequence[PricedTrade]:
        """Those of a market that are priced now."""
        return () if market_id in self.deferred else self.known.get(market_id, ())


async def apply_trades(
    connection: Connection,
    batch: Batch,
    curves: Mapping[str, StoredCurve],
    reprice_from: Mapping[str, int],
    history: RateHistory,
) -> AppliedTrades:
    """Apply new buys and sells, and reprice recorded trades from the slots in `reprice_from` (by market id).

    `curves` are the curves before the trades, one for each market with new trades or in `reprice_from`.
    Of a corrected market only the trades after its correction are repriced: its totals contain the others.
    Where more trades than MOST_REPRICED follow, new ones are estimated, and all are left to be priced in the
    background.
    """
    new_trades: dict[str, list[EventRow]] = defaultdict(list)
    for row in batch.rows:
        if row.market_id is not None and row.is_trade:
            new_trades[row.market_id].append(row)
    tails = await _tails(connection, curves, new_trades, reprice_from, history)
    if not tails.start_slots:
        return AppliedTrades(curves)
    late = [row for market_id in sorted(tails.deferred) for row in new_trades.get(market_id, ())]
    prices_before = await _prices_before(connection, late)
    created = created_markets(batch.rows)
    sums: dict[str, MarketSums] = {}
    inserted: list[tuple[EventRow, PricedTrade]] = []
    repriced: list[PricedTrade] = []
    fills: dict[tuple[str, int], Fill] = {}
    repricings: dict[str, Repricing | None] = {}
    for market_id in sorted(tails.start_slots):
        stored, is_deferred = curves[market_id], market_id in tails.deferred
        new = {row.key: row for row in new_trades.get(market_id, [])}
        before = {(one.trade.signature, one.trade.ordinal): one for one in tails.of(market_id)}
        unpriced = [as_trade(row, history) for row in new.values()]
        start = None if is_deferred else _start(stored, [one.trade for one in before.values()])
        added = sums[market_id] = MarketSums()
        price_yes_before, price_slot = price_yes(start), -1
        for priced in trade_pricing.price_trades(start, [*unpriced, *(one.trade for one in before.values())]):
            key = (priced.trade.signature, priced.trade.ordinal)
            if key in new:
                slot, price = prices_before.get(key, (-1, 0))
                price_yes_before = price if slot > price_slot else price_yes_before
                inserted.append((new[key], priced))
                fills[key] = Fill(priced.amount_lamports, _fees(priced), price_yes_before)
                added.count(priced.trade)
                added.add(priced, 1)
            elif priced != before[key]:
                repriced.append(priced)
                added.add(before[key], -1)
                added.add(priced, 1)
            price_yes_before, price_slot = min(priced.trade.price_yes_after, SCALE), priced.trade.slot
        due = repricing_after(
            stored,
            tails.start_slots[market_id],
            unpriced,
            is_deferred=is_deferred,
            from_creation=market_id in created,
        )
        if due != stored.repricing:
            repricings[market_id] = due
    positions = await write_trades(connection, inserted, repriced, batch.commitment)
    await put_repricings(connection, repricings)
    count_repriced(len(repriced))
    changed = {market_id for market_id, added in sums.items() if added != MarketSums()}
    return AppliedTrades(curves, frozenset(changed | new_trades.keys()), sums, fills, positions)


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


async def _tails(
    connection: Connection,
    curves: Mapping[str, StoredCurve],
    new_trades: Mapping[str, Sequence[EventRow]],
    reprice_from: Mapping[str, int],
    history: RateHistory,
) -> _Tails:
    first = {market_id: min(row.slot for row in rows) for market_id, rows in new_trades.items()}
    start_slots = {
        market_id: max(
            min(slots[market_id] for slots in (first, reprice_from) if market_id in slots),
            curves[market_id].first_slot,
        )
        for market_id in first.keys() | reprice_from.keys()
    }
    only_repriced = sorted(reprice_from.keys() - first.keys())
    looked_at = {
        market_id: start_slots[market_id] for market_id in sorted(first) + only_repriced[:_MOST_MARKETS]
    }
    known = await trades_since(connection, looked_at, history, MOST_REPRICED + 1) if looked_at else {}
    longer = {market_id for market_id, tail in known.items() if len(tail) > MOST_REPRICED}
    return _Tails(start_slots, known, longer.union(only_repriced[_MOST_MARKETS:]))


async def _prices_before(
    connection: Connection, rows: Sequence[EventRow]
) -> dict[tuple[str, int], tuple[int, int]]:
    """Slot and price of YES of the recorded trade before each of these, by key, if there is one."""
    if not rows:
        return {}
    found = await connection.fetch(
        _PRICES_BEFORE, list(range(len(rows))), [row.market_id for row in rows], [row.slot for row in rows]
    )
    return {rows[number].key: (slot, price) for number, slot, price in found}


def _start(curve: StoredCurve, tail: Iterable[UnpricedTrade]) -> Curve | None:
    """The curve just before the tail: the market's present shares without the tail's trades."""
    start = curve.curve
    if start is None:
        return None
    for trade in tail:
        start = trade_pricing.curve_before(start, trade)
    return start


def _fees(priced: PricedTrade) -> TradeFees:
    parts = (priced.protocol_fee_lamports, priced.resolver_fee_lamports, priced.lp_fee_lamports)
    return TradeFees(*parts, sum(parts))

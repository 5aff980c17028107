"""Trades that are priced anew in the background, few at a time.

What a trade came to follows from the shares outstanding before its slot, from its slot's trades and from the
fee rates: a trade that comes late changes it for all after it. Where these are more than `apply` prices at
once, the market's row says from which slot on it is still to be done. It is done in steps of a bounded number
of rows, each under the lock of the market: first back from the present shares to those before that slot, then
forward, slot by slot. A trade that comes late meanwhile moves the shares that are known already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from asyncpg import Connection
from msgspec.structs import replace

from zmartd.indexer.effects.configuration import RateHistory
from zmartd.indexer.effects.curves import Repricing, StoredCurve
from zmartd.indexer.effects.market_sums import MarketSums
from zmartd.indexer.effects.trade_rows import trades_between, write_trades
from zmartd.log import get_logger
from zmartd.market import trade_pricing
from zmartd.market.lmsr import Curve
from zmartd.market.trade_pricing import PricedTrade, UnpricedTrade
from zmartd.metrics import Counter
from zmartd.store.postgres.plans import kept
from zmartd.store.postgres.reader import Reads

_LAST_SLOT = 2**63 - 1
_PUT = """
update markets
   set reprice_from = given.from_slot, reprice_before = given.before_slot,
       reprice_shares_yes = given.yes, reprice_shares_no = given.no
  from unnest($1::text[], $2::bigint[], $3::bigint[], $4::numeric[], $5::numeric[])
       as given (id, from_slot, before_slot, yes, no)
 where markets.id = given.id
"""
_DUE = kept("select id from markets where reprice_from is not null order by id limit $1")
_NOTE = """
update markets set reprice_from = least(reprice_from, placed.slot)
  from (select trades.market_id, min(trades.slot) as slot
          from unnest($1::text[], $2::bigint[]) as given (market_id, slot)
          join trades on trades.market_id = given.market_id and trades.slot = given.slot
         where not exact
         group by trades.market_id) as placed
 where markets.id = placed.market_id
"""
_BACK = """
select slot from trades where market_id = $1 and slot >= $2 and slot < $3
 order by market_id, slot desc, id desc offset $4 limit 1
"""
_SHARES_BETWEEN = """
select coalesce(sum(shares) filter (where outcome), 0) as yes,
       coalesce(sum(shares) filter (where not outcome), 0) as no
  from (select outcome, case trade_type when 'buy' then shares::numeric else -shares::numeric end as shares
          from trades where market_id = $1 and slot >= $2 and slot < $3) as later
"""
_END = """
select slot from trades where market_id = $1 and slot > $2
 order by market_id desc, slot, id offset $3 limit 1
"""
_REPRICED = Counter(
    "zmartd_indexer_repriced_total", "Trades whose amount or fees were worked out anew and were others."
).labels()

log = get_logger(__name__)


async def due_markets(connection: Reads, most: int) -> list[str]:
    """Ids of markets with trades that are still to be priced anew. Takes what reads as the daemon itself."""
    return [row["id"] for row in await connection.fetch(_DUE, most)]


async def put_repricings(connection: Connection, repricings: Mapping[str, Repricing | None]) -> None:
    """Store what is still to be priced anew of locked markets, by id; None: nothing."""
    if not repricings:
        return
    rows = [
        (market_id, None, None, None, None)
        if due is None
        else (market_id, due.from_slot, due.before_slot, due.shares_yes, due.shares_no)
        for market_id, due in sorted(repricings.items())
    ]
    await connection.execute(_PUT, *zip(*rows, strict=True))


async def note_placed_trades(connection: Connection, trades: Sequence[tuple[str, int]]) -> None:
    """Have slots priced anew whose trades got their place in the block, where they fitted in no order.

    `trades` are their market ids and slots. Takes a service transaction.
    """
    if trades:
        await connection.execute(_NOTE, *map(list, zip(*trades, strict=True)))


def repricing_after(
    stored: StoredCurve,
    start_slot: int,
    new: Iterable[UnpricedTrade],
    *,
    is_deferred: bool,
    from_creation: bool,
) -> Repricing | None:
    """What is still to be priced anew after a batch with `new` trades of a market.

    Since `start_slot` all trades were priced, or none if that `is_deferred`. `from_creation`: whether the
    market had other shares before.
    """
    due = stored.repricing
    if is_deferred:
        from_slot = start_slot if due is None else min(due.from_slot, start_slot)
        due = Repricing(from_slot) if due is None else replace(due, from_slot=from_slot)
    if due is None or (not is_deferred and start_slot <= due.from_slot):
        return None
    if due.before_slot is None or from_creation:
        return Repricing(due.from_slot)
    yes, no = _shares(trade for trade in new if trade.slot < due.before_slot)
    return replace(due, shares_yes=due.shares_yes + yes, shares_no=due.shares_no + no)


async def reprice_step(
    connection: Connection, market_id: str, stored: StoredCurve, history: RateHistory, most: int
) -> MarketSums:
    """Do the next step for a market that is locked. Returns what is to be added to its row.

    It reads `most` trades and those of a slot, twice at most. Takes a service transaction.
    """
    due = stored.repricing
    if due is None:
        return MarketSums()
    from_slot = max(due.from_slot, stored.first_slot)
    before_slot = _LAST_SLOT if due.before_slot is None else due.before_slot
    is_begun = due.before_slot is not None
    yes, no = (due.shares_yes, due.shares_no) if is_begun else (stored.shares_yes, stored.shares_no)
    if before_slot > from_slot:
        slot = await connection.fetchval(_BACK, market_id, from_slot, before_slot, most)
        slot = from_slot if slot is None else slot
        (later,) = await connection.fetch(_SHARES_BETWEEN, market_id, slot, before_slot)
        back = Repricing(from_slot, slot, yes - later["yes"], no - later["no"])
        await put_repricings(connection, {market_id: back})
        return MarketSums()
    end_slot: int | None = await connection.fetchval(_END, market_id, from_slot, most)
    known = await trades_between(connection, market_id, from_slot, end_slot or _LAST_SLOT, history)
    curve = None if stored.b_parameter is None else Curve(yes, no, stored.b_parameter)
    sums = await _reprice(connection, curve, known)
    more_yes, more_no = _shares(one.trade for one in known)
    after = Repricing(end_slot or 0, end_slot, yes + more_yes, no + more_no)
    await put_repricings(connection, {market_id: _rest(market_id, after, stored)})
    return sums


async def _reprice(connection: Connection, curve: Curve | None, known: Sequence[PricedTrade]) -> MarketSums:
    before = {(one.trade.signature, one.trade.ordinal): one for one in known}
    sums = MarketSums()
    repriced = []
    for priced in trade_pricing.price_trades(curve, [one.trade for one in known]):
        earlier = before[priced.trade.signature, priced.trade.ordinal]
        if priced != earlier:
            repriced.append(priced)
            sums.add(earlier, -1)
            sums.add(priced, 1)
    await write_trades(connection, [], repriced)
    count_repriced(len(repriced))
    return sums


def count_repriced(trades: int) -> None:
    """Count trades that were priced anew, and came to something else."""
    _REPRICED.inc(trades)


def _rest(market_id: str, after: Repricing, stored: StoredCurve) -> Repricing | None:
    """What is left after a step. All from the beginning, if somebody else has changed trades meanwhile and
    has not said so, as a daemon of an earlier release does not.
    """
    if after.before_slot is not None:
        return after
    if (after.shares_yes, after.shares_no) == (stored.shares_yes, stored.shares_no):
        return None
    log.warning("indexer.repricing_restarted", market_id=market_id)
    return Repricing(stored.first_slot)


def _shares(trades: Iterable[UnpricedTrade]) -> tuple[int, int]:
    """What trades add to the outstanding shares of YES and of NO."""
    yes = no = 0
    for trade in trades:
        yes += trade.shares_change if trade.outcome else 0
        no += 0 if trade.outcome else trade.shares_change
    return yes, no

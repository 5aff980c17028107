"""The rows of trades: read for repricing, and written with the positions that they are of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from asyncpg import Connection, Record

from zmartd.indexer.effects.configuration import RateHistory
from zmartd.indexer.events.rows import ChainPlace, EventRow
from zmartd.market.lmsr import SCALE
from zmartd.market.trade_pricing import PricedTrade, UnpricedTrade
from zmartd.store.postgres import plans

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
with written as (
    insert into trades (market_id, user_wallet, trade_type, outcome, shares, cost, amount, protocol_fee,
                        resolver_fee, lp_fee, exact, price_after, tx_signature, event_index, slot,
                        index_in_block, block_time, commitment)
    select market_id, user_wallet, trade_type, outcome, shares, cost, amount, protocol_fee, resolver_fee,
           lp_fee, exact, price::numeric / 1000000000, tx_signature, event_index, slot, index_in_block,
           block_time, $18
      from unnest($1::text[], $2::text[], $3::text[], $4::bool[], $5::numeric[], $6::numeric[], $7::numeric[],
                  $8::numeric[], $9::numeric[], $10::numeric[], $11::bool[], $12::bigint[], $13::text[],
                  $14::int[], $15::bigint[], $16::int[], $17::timestamptz[])
           as given (market_id, user_wallet, trade_type, outcome, shares, cost, amount, protocol_fee,
                     resolver_fee, lp_fee, exact, price, tx_signature, event_index, slot, index_in_block,
                     block_time)
    returning market_id, user_wallet, trade_type = 'buy' as buys, outcome, cost, slot, block_time,
              case trade_type when 'buy' then shares else -shares end as shares
)
insert into user_positions as held (market_id, user_wallet, shares_yes, shares_no, total_invested,
                                    total_returned, trades_count, first_trade_at, last_trade_at, slot)
select market_id, user_wallet, coalesce(sum(shares) filter (where outcome), 0),
       coalesce(sum(shares) filter (where not outcome), 0), coalesce(sum(cost) filter (where buys), 0),
       coalesce(sum(cost) filter (where not buys), 0), count(*), min(block_time), max(block_time), max(slot)
  from written group by market_id, user_wallet order by market_id, user_wallet
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
returning market_id, user_wallet, shares_yes, shares_no, total_invested, total_returned, claimed_amount,
          has_claimed, trades_count
"""
_REPRICE = """
update trades
   set amount = priced.amount, protocol_fee = priced.protocol_fee, resolver_fee = priced.resolver_fee,
       lp_fee = priced.lp_fee, exact = priced.exact
  from unnest($1::text[], $2::int[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[], $7::bool[])
       as priced (tx_signature, event_index, amount, protocol_fee, resolver_fee, lp_fee, exact)
 where trades.tx_signature = priced.tx_signature and trades.event_index = priced.event_index
"""


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
    commitment: str = "confirmed",
) -> list[Record]:
    """Write new trades, add them to positions, and write others that were priced anew.

    New ones get `commitment`. Returns their positions.
    """
    positions: list[Record] = []
    if inserted:
        columns = _columns([_trade_values(*one) for one in inserted])
        # The plan has no choices; that of the check of each row's market would be made anew for each row.
        if len(inserted) > plans.FEW:
            await connection.execute(plans.KEEP)
        positions = await connection.fetch(_INSERT, *columns, commitment)
        if len(inserted) > plans.FEW:
            await connection.execute(plans.ANEW)
    if repriced:
        await connection.execute(
            _REPRICE,
            *_columns(
                [(one.trade.signature, one.trade.ordinal, *_amounts(one), one.exact) for one in repriced]
            ),
        )
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

"""Fills databases with synthetic histories of many trades, by COPY.

The rows are those that the indexer writes when it applies the history, as final; `tests/integration/bench`
compares them. Messages about the trades are not among them: a daemon keeps the newest only. What is kept of
the trades is counted market by market, as `zmartd audit --repair` does it, and not trade by trade.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any, Final

import asyncpg
import click
import msgspec
from asyncpg import Connection

from bench.quiet_indexer import quiet_indexer
from bench.synthetic_history import IDL, B, PlacedTrade, Rhythm, SyntheticHistory
from zmartd import config
from zmartd.chain.codec import Codec
from zmartd.chain.transactions import parse_transaction
from zmartd.config_values import PostgresUrl
from zmartd.indexer.effects.configuration import RateHistory
from zmartd.indexer.effects.curves import price_yes
from zmartd.indexer.effects.lifecycle import SEED_SHARES_DIVISOR
from zmartd.indexer.effects.trades import as_trade
from zmartd.indexer.events.event_context import NO_CONTEXT
from zmartd.indexer.events.payloads import payload_json
from zmartd.indexer.events.rows import TRADE_EVENTS, EventRow
from zmartd.market.iso_time import utc_from_unix
from zmartd.market.lmsr import SCALE, Curve
from zmartd.market.trade_pricing import PricedTrade, curve_after, price_trades

SEED: Final = 20
MARKETS: Final = 1_000
WALLETS: Final = 20_000
BUSIEST_SHARE: Final = 0.1
YEAR_SECONDS: Final = 365 * 86_400
"""From the first to the last trade, however many there are."""
SUBJECTS: Final = ("election", "football", "weather", "bitcoin", "rocket", "album", "trial", "storm")
"""Words of the questions; each is in as many."""

_CHUNK = 20_000
_UNFOLDED = 100_000
"""So many results are added to the standings together."""
_EVENT_COLUMNS = (
    *("event_type", "tx_signature", "event_index", "slot", "index_in_block", "block_time", "market_id"),
    *("actor", "payload", "commitment"),
)
_INDEXES = """
select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition
  from pg_index where indrelid = any('{trades,trade_events}'::regclass[]) and not indisunique
"""
_TRADE_COLUMNS = (
    *("market_id", "user_wallet", "trade_type", "outcome", "shares", "cost", "amount", "protocol_fee"),
    *("resolver_fee", "lp_fee", "exact", "price_after", "tx_signature", "event_index", "slot"),
    *("index_in_block", "block_time", "commitment"),
)
_POSITIONS = """
insert into user_positions (market_id, user_wallet, shares_yes, shares_no, total_invested, total_returned,
                            trades_count, first_trade_at, last_trade_at, slot)
select market_id, user_wallet, coalesce(sum(moved) filter (where outcome), 0),
       coalesce(sum(moved) filter (where not outcome), 0), coalesce(sum(cost) filter (where buys), 0),
       coalesce(sum(cost) filter (where not buys), 0), count(*), min(block_time), max(block_time), max(slot)
  from trades
 cross join lateral (select trade_type = 'buy' as buys) as kind
 cross join lateral (select case when buys then shares else -shares end as moved) as move
 group by market_id, user_wallet
"""
_MARKETS = """
update markets
   set shares_yes = shares_yes + added.yes, shares_no = shares_no + added.no,
       trades_count = added.trades, current_liquidity = current_liquidity + added.liquidity,
       total_volume = added.volume, accumulated_protocol_fees = added.protocol_fees,
       resolver_fees_earned = added.resolver_fees, lp_fees_earned = added.lp_fees,
       slot = greatest(markets.slot, added.slot), version = markets.version + 1,
       current_price_yes = price.yes::numeric / 1000000000,
       current_price_no = (1000000000 - price.yes)::numeric / 1000000000
  from (select market_id, coalesce(sum(moved) filter (where outcome), 0) as yes,
               coalesce(sum(moved) filter (where not outcome), 0) as no, count(*) as trades,
               sum(case when buys then amount else -amount end) as liquidity,
               sum(case when buys then cost else amount end) as volume, sum(protocol_fee) as protocol_fees,
               sum(resolver_fee) as resolver_fees, sum(lp_fee) as lp_fees, max(slot) as slot
          from trades
         cross join lateral (select trade_type = 'buy' as buys) as kind
         cross join lateral (select case when buys then shares else -shares end as moved) as move
         group by market_id) as added
  join unnest($1::text[], $2::bigint[]) as price (id, yes) on price.id = added.market_id
 where markets.id = added.market_id
"""
_TEXTS = """
update markets
   set question = format('Will the %s of number %s end well?', subject, number),
       description = format('It ends well where the %s is what everybody hoped for.', subject),
       tags = array[subject], category = ($2::text[])[1 + number % cardinality($2::text[])]
  from (select id, number, ($1::text[])[1 + number % cardinality($1::text[])] as subject
          from (select id, row_number() over (order by id) as number from markets) as numbered) as named
 where markets.id = named.id
"""
_CATEGORIES = ["politics", "sports", "crypto", "other"]


def history_of(trades: int) -> SyntheticHistory:
    """The history in which so many trades take a year."""
    rhythm = Rhythm(YEAR_SECONDS, trades + 3 * MARKETS, BUSIEST_SHARE)
    return SyntheticHistory(SEED, MARKETS, WALLETS, rhythm)


async def fill(dsn: str, history: SyntheticHistory, trades: int) -> None:
    """Fill a database that has been migrated and has nothing in it, and give its markets texts.

    `history` has told nothing yet. The openings are applied, the next `trades` trades are copied.
    """
    parse = partial(parse_transaction, program_id=IDL.program_id, codec=Codec(IDL))
    openings = [parse(msgspec.json.decode(one)) for one in history.openings()]
    async with quiet_indexer(config.DatabaseSettings(url=PostgresUrl(dsn), pool_size=3)) as indexer:
        for start in range(0, len(openings), 500):
            await indexer.apply(openings[start : start + 500], "finalized")
    connection = await asyncpg.connect(dsn)
    try:
        copied = _Copied()
        rows = copied.rows(history.placed_trades(trades))
        indexes = await connection.fetch(_INDEXES)
        await connection.execute(f"drop index {', '.join(index['name'] for index in indexes)}")
        done = 0
        while chunk := list(islice(rows, _CHUNK)):
            await _copy(connection, chunk)
            before, done = done, done + len(chunk)
            if done * 10 // trades > before * 10 // trades:
                click.echo(f"  {done} of {trades} trades copied …", err=True)
        await connection.execute("set work_mem = '256MB'; set maintenance_work_mem = '1GB'")
        for index in indexes:
            click.echo(f"  {index['name']} …", err=True)
            await connection.execute(index["definition"], timeout=3_600)
        await connection.execute("analyze")
        await _keep_sums(connection)
        await connection.execute(_POSITIONS)
        await connection.execute(_MARKETS, *copied.prices())
        await connection.execute(_TEXTS, list(SUBJECTS), _CATEGORIES)
        await connection.execute("vacuum analyze")
    finally:
        await connection.close()


class _Copied:
    """Prices trades in the order of the chain, with the indexer's own pricing."""

    def __init__(self) -> None:
        self._curves: dict[str, Curve] = {}
        self._rates = RateHistory(())

    def rows(self, trades: Iterator[PlacedTrade]) -> Iterator[tuple[EventRow, PricedTrade]]:
        seeded = B // SEED_SHARES_DIVISOR
        for placed in trades:
            at = utc_from_unix(placed.block_time)
            row = EventRow(placed.event, placed.signature, 0, placed.slot, placed.index_in_block, at)
            market_id = row.market_id or ""
            trade = as_trade(row, self._rates)
            curve = self._curves.get(market_id) or Curve(seeded, seeded, B)
            self._curves[market_id] = curve_after(curve, trade)
            yield row, price_trades(curve, [trade])[0]

    def prices(self) -> tuple[list[str], list[int]]:
        """The markets that were traded, and the prices of YES after that."""
        return list(self._curves), [price_yes(curve) for curve in self._curves.values()]


async def _copy(connection: Connection, rows: list[tuple[EventRow, PricedTrade]]) -> None:
    async with connection.transaction():
        await connection.execute("set local session_replication_role = replica")  # no triggers
        await connection.copy_records_to_table(
            TRADE_EVENTS, records=(_event(row) for row, _ in rows), columns=_EVENT_COLUMNS
        )
        await connection.copy_records_to_table(
            "trades", records=(_trade(*one) for one in rows), columns=_TRADE_COLUMNS
        )


async def _keep_sums(connection: Connection) -> None:
    """Count what is kept of the trades of each market."""
    now = await connection.fetchval("select max(block_time) from trades")
    markets = await connection.fetch(
        "select market_id::text as id, count(*) as trades, array_agg(distinct user_wallet::text) as wallets"
        "  from trades group by market_id"
    )
    unfolded = 0
    for done, market in enumerate(markets):
        async with connection.transaction():
            await connection.execute(
                "select zmartd.count_all_candles($1, '-infinity', 'infinity')", market["id"]
            )
            await connection.execute("select zmartd.count_results($1, $2)", market["id"], market["wallets"])
            unfolded += market["trades"]
            if unfolded > _UNFOLDED or market is markets[-1]:
                await connection.execute("select zmartd.fold_standings($1)", now)
                unfolded = 0
        if (done + 1) * 10 // len(markets) > done * 10 // len(markets):
            click.echo(f"  {done + 1} of {len(markets)} markets summed …", err=True)


def _event(row: EventRow) -> tuple[Any, ...]:
    place = (row.signature, row.ordinal, row.slot, row.index_in_block, row.block_time)
    payload = payload_json(row.event, NO_CONTEXT)
    return row.event_type, *place, row.market_id, row.actor, payload, "finalized"


def _trade(row: EventRow, priced: PricedTrade) -> tuple[Any, ...]:
    trade = priced.trade
    fees = (priced.protocol_fee_lamports, priced.resolver_fee_lamports, priced.lp_fee_lamports)
    return (
        *(row.market_id, row.actor, "buy" if trade.buys else "sell", trade.outcome, trade.shares),
        *(trade.cash_lamports, priced.amount_lamports, *fees, priced.exact),
        Decimal(min(trade.price_yes_after, SCALE)).scaleb(-9),
        *(row.signature, row.ordinal, row.slot, row.index_in_block, row.occurred_at, "finalized"),
    )

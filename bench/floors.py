"""Floors, the least cost of the same work: the same rows by plain SQL, a handler that does nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from aiohttp import web

_EVENTS = """
insert into trade_events (event_type, tx_signature, event_index, slot, index_in_block, block_time,
                          market_id, actor, payload)
select * from unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::int[], $6::timestamptz[],
                     $7::text[], $8::text[], $9::jsonb[])
on conflict do nothing
"""
_TRADES = """
insert into trades (market_id, user_wallet, trade_type, outcome, shares, cost, amount, protocol_fee,
                    resolver_fee, lp_fee, exact, price_after, tx_signature, event_index, slot, index_in_block,
                    block_time)
select * from unnest($1::text[], $2::text[], $3::text[], $4::bool[], $5::numeric[], $6::numeric[],
                     $7::numeric[], $8::numeric[], $9::numeric[], $10::numeric[], $11::bool[], $12::numeric[],
                     $13::text[], $14::int[], $15::bigint[], $16::int[], $17::timestamptz[])
on conflict do nothing
"""
_POSITIONS = """
insert into user_positions as held (market_id, user_wallet, shares_yes, total_invested, trades_count, slot)
select market_id, user_wallet, sum(shares), sum(cost), count(*), max(slot)
  from unnest($1::text[], $2::text[], $3::numeric[], $4::numeric[], $5::bigint[])
       as given (market_id, user_wallet, shares, cost, slot)
 group by market_id, user_wallet
on conflict (market_id, user_wallet) do update
   set shares_yes = held.shares_yes + excluded.shares_yes,
       total_invested = held.total_invested + excluded.total_invested,
       trades_count = held.trades_count + excluded.trades_count, slot = excluded.slot
"""
_MARKETS = """
update markets
   set shares_yes = shares_yes + added.shares, trades_count = trades_count + added.trades,
       total_volume = total_volume + added.cost
  from (select market_id, sum(shares) as shares, count(*) as trades, sum(cost) as cost
          from unnest($1::text[], $2::numeric[], $3::numeric[]) as given (market_id, shares, cost)
         group by market_id) as added
 where id = added.market_id
"""
_EVENT_COLUMNS = (
    "event_type",
    "tx_signature",
    "event_index",
    "slot",
    "index_in_block",
    "block_time",
    "market_id",
    "actor",
    "payload",
)
_TRADE_COLUMNS = (
    "market_id",
    "user_wallet",
    "trade_type",
    "outcome",
    "shares",
    "cost",
    "amount",
    "protocol_fee",
    "resolver_fee",
    "lp_fee",
    "exact",
    "price_after",
    "tx_signature",
    "event_index",
    "slot",
    "index_in_block",
    "block_time",
)

Rows = list[tuple[Any, ...]]


class WrittenRows:
    """Rows that the indexer wrote, read from its tables, and written again by plain SQL."""

    def __init__(self, dsn: str, events: Rows, trades: Rows) -> None:
        self._dsn = dsn
        self._events = events
        self._trades = trades

    @classmethod
    async def read(cls, dsn: str, limit: int) -> WrittenRows:
        """Read the first `limit` trades in the order of the chain."""
        connection = await asyncpg.connect(dsn)
        try:
            order = "order by slot, index_in_block limit $1"
            events = await connection.fetch(
                f"select {', '.join(_EVENT_COLUMNS)} from trade_events {order}", limit
            )
            trades = await connection.fetch(f"select {', '.join(_TRADE_COLUMNS)} from trades {order}", limit)
        finally:
            await connection.close()
        return cls(dsn, [tuple(row) for row in events], [tuple(row) for row in trades])

    async def unnest_events(self, batch: int) -> float:
        """Event rows per second, with one commit per `batch` rows."""
        connection = await asyncpg.connect(self._dsn)
        try:
            await _truncate_trades(connection)
            batches = _columns(self._events, batch)
            started = time.monotonic()
            for columns in batches:
                await connection.execute(_EVENTS, *columns)
            return len(self._events) / (time.monotonic() - started)
        finally:
            await connection.close()

    async def unnest_everything(self, batch: int) -> float:
        """Events per second, with all rows of an event: event, trade, position, market."""
        connection = await asyncpg.connect(self._dsn)
        try:
            await _truncate_trades(connection)
            batches = list(zip(_columns(self._events, batch), _columns(self._trades, batch), strict=True))
            started = time.monotonic()
            for events, trades in batches:
                market, wallet, shares, cost, slot = (trades[column] for column in (0, 1, 4, 5, 14))
                async with connection.transaction():
                    await connection.execute(_EVENTS, *events)
                    await connection.execute(_TRADES, *trades)
                    await connection.execute(_POSITIONS, market, wallet, shares, cost, slot)
                    await connection.execute(_MARKETS, market, shares, cost)
            return len(self._events) / (time.monotonic() - started)
        finally:
            await connection.close()

    async def copy_everything(self) -> float:
        """Events per second with COPY of events and trades in one transaction."""
        connection = await asyncpg.connect(self._dsn)
        try:
            await _truncate_trades(connection)
            started = time.monotonic()
            async with connection.transaction():
                await connection.copy_records_to_table(
                    "trade_events", records=self._events, columns=_EVENT_COLUMNS
                )
                await connection.copy_records_to_table("trades", records=self._trades, columns=_TRADE_COLUMNS)
            return len(self._events) / (time.monotonic() - started)
        finally:
            await connection.close()


@asynccontextmanager
async def bare_server() -> AsyncIterator[int]:
    """An aiohttp application that reads a body and answers 200; its port."""

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=b'{"received":true}', content_type="application/json")

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/helius/webhook", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def truncate_index(dsn: str) -> None:
    """Truncate the tables of the index."""
    connection = await asyncpg.connect(dsn)
    try:
        await _truncate_trades(connection)
        await connection.execute(
            "truncate markets, market_events, vote_events, admin_events, webhook_inbox, indexer_cursor "
            "cascade"
        )
    finally:
        await connection.close()


async def _truncate_trades(connection: asyncpg.Connection) -> None:
    await connection.execute("truncate trade_events, trades, user_positions")
    await connection.execute("checkpoint")


def _columns(rows: Rows, batch: int) -> list[list[list[Any]]]:
    """The rows in batches, as arrays of columns."""
    return [
        [list(column) for column in zip(*rows[start : start + batch], strict=True)]
        for start in range(0, len(rows), batch)
    ]

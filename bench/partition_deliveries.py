"""Measures how applied deliveries are deleted: in bites, while others arrive, and with a partition."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from asyncpg import Connection

from bench.backend_cost import backend_of
from bench.figures import Figure
from zmartd import config
from zmartd.store import inbox
from zmartd.store.inbox import NewDelivery
from zmartd.store.postgres.migrations import migrate
from zmartd.store.retention import ExpiringRows, expiring_rows

IDLE_SECONDS: Final = 20
_PARTS: Final = """
create table parts (like webhook_inbox including all excluding identity) partition by range (id);
create table parts_1 partition of parts for values from (1) to ({rows} + 1);
"""
_DELIVERIES: Final = """
insert into {name} (id, body, transactions, status, settled_at)
select n, convert_to(repeat(md5(n::text), 40), 'utf8'), 1, 'done',
       now() - interval '9 days' + n * interval '1 ms'
  from generate_series({first}, {last}) as n
"""


async def measure_deliveries(dsn: str, rows: int) -> list[Figure]:
    """What it takes to be rid of so many applied deliveries, in bites like the task's, and with a partition.

    Beside it deliveries are taken in and marked as applied.
    """
    await migrate(dsn)
    (expiring,) = [one for one in _expiring() if one.table == "webhook_inbox"]
    # Whoever would wait for a lock for longer ends the bench.
    async with backend_of(dsn) as backend, backend_of(dsn, "lock_timeout = '1ms'") as other:
        connection = backend.connection
        await connection.execute(_PARTS.format(rows=rows))
        filled = {}
        for name in ("parts", "webhook_inbox"):
            statement = _DELIVERIES.format(name=name, first=1, last=rows)
            filled[name], _ = await backend.cost(partial(connection.execute, statement, timeout=3_600))
        await connection.execute("alter table webhook_inbox alter id restart with 1000000000")
        await connection.execute("vacuum analyze webhook_inbox", timeout=3_600)
        before = await _size(connection, "webhook_inbox")
        idle = await _serving(other.connection, asyncio.sleep(IDLE_SECONDS))
        bites: list[float] = []

        async def in_bites() -> None:
            deleted = expiring.bite
            while deleted == expiring.bite:
                begun = time.monotonic()
                async with connection.transaction():
                    deleted = await expiring.delete(connection)
                bites.append(time.monotonic() - begun)
                await asyncio.sleep(bites[-1])

        used, begun = backend.cpu_seconds(), time.monotonic()
        meanwhile = await _serving(other.connection, in_bites())
        used, seconds = backend.cpu_seconds() - used, time.monotonic() - begun
        vacuum, _ = await backend.cost(partial(connection.execute, "vacuum webhook_inbox", timeout=3_600))
        again = _DELIVERIES.format(name="webhook_inbox", first=2 * rows, last=3 * rows - 1)
        await connection.execute(again, timeout=3_600)
        after = await _size(connection, "webhook_inbox")
        dropping = await backend.cost(partial(connection.execute, "drop table parts_1"))
    return [
        Figure(
            "write a delivery, into a partition",
            filled["parts"] / rows * 1e6,
            "µs CPU",
            floor=filled["webhook_inbox"] / rows * 1e6,
        ),
        Figure(f"delete {rows} in bites", seconds, "s", note=f"{used:.1f} s CPU, vacuum {vacuum:.1f} s CPU"),
        Figure(f"a bite of {expiring.bite}", _p(bites, 50), "ms", note=f"p99 {_p(bites, 99):.1f} ms"),
        Figure(
            "a delivery meanwhile",
            _p(meanwhile, 50),
            "ms",
            floor=_p(idle, 50),
            note=f"p99 {_p(meanwhile, 99):.1f} ms, without {_p(idle, 99):.1f} ms;"
            f" the slowest {max(meanwhile) * 1e3:.0f}, {max(idle) * 1e3:.0f} ms",
        ),
        Figure("table with as many again", after / 1e6, "MB", floor=before / 1e6, note="floor: before"),
        Figure(
            "drop a partition of as many", dropping[1] * 1e3, "ms", note=f"{dropping[0] * 1e3:.0f} ms CPU"
        ),
    ]


def _expiring() -> tuple[ExpiringRows, ...]:
    settings = config.Settings()
    return expiring_rows(
        retention=settings.retention,
        transactions=settings.transactions,
        markets=settings.markets,
        realtime=settings.realtime,
        alerts=settings.alerts,
    )


async def _size(connection: Connection, table: str) -> float:
    return float(await connection.fetchval("select pg_total_relation_size($1::regclass)", table))


def _p(seconds: list[float], percent: int) -> float:
    """A percentile, in milliseconds."""
    return sorted(seconds)[min(len(seconds) * percent // 100, len(seconds) - 1)] * 1e3


async def _serving(connection: Connection, work: Coroutine[Any, Any, None]) -> list[float]:
    """Take in a delivery and mark it as applied while `work` goes on, as a daemon does; seconds of each."""
    took, doing = list[float](), asyncio.create_task(work)
    while not doing.done():
        begun = time.monotonic()
        async with connection.transaction():
            await inbox.add(connection, [NewDelivery(b"x" * 1_000, 1)])
        async with connection.transaction():
            taken = await inbox.take(connection, datetime.now(UTC) + timedelta(minutes=1), limit=500)
            await inbox.finish(connection, [one.id for one in taken])
        took.append(time.monotonic() - begun)
        await asyncio.sleep(0.02)
    await doing
    return took

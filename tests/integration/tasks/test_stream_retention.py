from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tests.integration.store.rows import NOON, insert_market, insert_trade, wallet
from tests.integration.tasks.killed import Killed, killed_at, pool
from tests.integration.tasks.manual_clock import ManualClock, eventually
from tests.integration.tasks.world import World
from zmartd.clock import Clock
from zmartd.market.lifecycle import MarketState
from zmartd.store import streams
from zmartd.store.postgres.database import Database
from zmartd.task_settings import StreamRetentionSettings, TaskSettings
from zmartd.tasks.leaderboard import Leaderboard
from zmartd.tasks.stream_retention import MOST_PENDING, RUN_SECONDS, StreamRetention

BITE = 1_000


def task(
    world: World, clock: Clock | None = None, database: Database | None = None, **settings: Any
) -> StreamRetention:
    context = world.own.context(authority=None)
    return StreamRetention(
        replace(
            context,
            clock=clock or context.clock,
            database=database or context.database,
            settings=TaskSettings(stream_retention=StreamRetentionSettings(**settings)),
        )
    )


async def answers(database: Database, expired: int) -> None:
    """So many answers that have expired, and one that has not."""
    async with database.service() as connection:
        await connection.execute(
            "insert into idempotency_keys (subject, key, request_hash, expires_at)"
            " select 'w', n::text, 'x', now() + case n when 0 then 1 else -1 end * interval '1 hour'"
            "   from generate_series(0, $1::int) as n",
            expired,
        )


async def left(database: Database, table: str = "idempotency_keys") -> int:
    async with database.service_reader() as connection:
        return int(await connection.fetchval(f"select count(*) from {table}"))


def counted(table: str) -> float:
    return REGISTRY.get_sample_value("zmartd_retention_deleted_rows_total", {"table": table}) or 0


async def test_a_run_deletes_what_has_expired_of_every_kind_and_counts_it(world: World) -> None:
    await answers(world.database, expired=2 * BITE + 1)
    async with world.database.service() as connection:
        await streams.append(connection, [(f"market:{'5a' * 32}", b"{}")] * 5)
        await connection.execute(
            "update stream_messages set created_at = now() - interval '8 days' where seq <= 3"
        )
    before = {table: counted(table) for table in ("idempotency_keys", "stream_messages")}

    (action,) = await task(world).run()

    assert (action.action, action.ok, action.routine) == ("delete", True, True)
    assert action.detail == "3 of stream_messages, 2001 of idempotency_keys"
    assert {table: counted(table) - before[table] for table in before} == {
        "idempotency_keys": 2_001,
        "stream_messages": 3,
    }
    assert await left(world.database) == 1
    async with world.database.service_reader() as connection:
        rows = await connection.fetch("select seq from stream_messages order by seq")
    assert [row["seq"] for row in rows] == [4, 5]
    assert await task(world).run() == []


class Slow(ManualClock):
    """On which each look takes a while."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def monotonic(self) -> float:
        self.advance(self._seconds)
        return super().monotonic()


async def test_each_bite_is_committed_and_followed_by_a_pause_and_a_run_that_is_cancelled_is_gone_on_with(
    world: World,
) -> None:
    await answers(world.database, expired=3 * BITE)
    clock = Slow(0.01)
    running = asyncio.create_task(task(world, clock).run())
    await eventually(lambda: clock.sleeping == 1, timeout_seconds=60)
    assert await left(world.database) == 2 * BITE + 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    await task(world).run()
    assert await left(world.database) == 1


@pytest.mark.parametrize(("time_limit_seconds", "step_seconds"), [(600.0, RUN_SECONDS / 2), (10.0, 2.5)])
async def test_a_run_ends_before_its_time_is_over_and_the_next_one_goes_on(
    world: World, time_limit_seconds: float, step_seconds: float
) -> None:
    await answers(world.database, expired=3 * BITE)

    class Hurried(Slow):
        async def sleep(self, seconds: float) -> None:
            assert seconds > 0

    await task(world, Hurried(step_seconds), time_limit_seconds=time_limit_seconds).run()
    assert await left(world.database) >= 2 * BITE
    await task(world).run()
    assert await left(world.database) == 1


async def test_a_daemon_that_is_killed_at_any_await_has_deleted_whole_bites(
    world: World, database_url: str
) -> None:
    killed, seen = 0, set()
    while True:
        async with world.database.service() as connection:
            await connection.execute("delete from idempotency_keys")
        await answers(world.database, expired=BITE + 1)
        killed += 1
        async with pool(database_url) as own:
            try:
                await killed_at(task(world, database=own).run(), killed)
                break
            except Killed:
                pass
        seen.add(await left(world.database))
        while await left(world.database) > 1:  # as long as Postgres takes to notice
            await task(world).run()
    assert seen == {BITE + 2, 2, 1}


async def test_changes_of_standings_are_added_up_where_no_leaderboard_does_it(world: World) -> None:
    async with world.database.service() as connection:
        market = await insert_market(connection, "m", MarketState.ACTIVE)
        await insert_trade(connection, "one", market, wallet("trader"), block_time=NOON)
        await connection.execute("select zmartd.fold_standings(now())")
        fill = (
            "insert into standing_changes (user_wallet, at, profit, volume, trades, results)"
            " select $1, now(), 1, 2, 1, 1 from generate_series(1, $2::int)"
        )
        await connection.execute(fill, wallet("other"), MOST_PENDING)
    assert await task(world).run() == []
    async with world.database.service() as connection:
        await connection.execute(fill, wallet("other"), 1)

    (action,) = await task(world).run()

    assert (action.action, action.ok, action.routine) == ("add_up", True, True)
    assert action.detail == "10001 changes of standings, which no leaderboard has added"
    assert await left(world.database, "standing_changes") == 0
    async with world.database.service_reader() as connection:
        rows = await connection.fetch("select user_wallet, trades from standings where period = 'all'")
    counted = {row["user_wallet"]: row["trades"] for row in rows}
    assert counted == {wallet("trader"): 1, wallet("other"): MOST_PENDING + 1}
    # A leaderboard goes on from there.
    (published,) = await Leaderboard(world.own.context(authority=None)).run()
    assert published.ok

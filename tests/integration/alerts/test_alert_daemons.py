"""Several daemons with rules, vitals and receivers: everything is told once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from redis.asyncio import Redis

from tests.integration.alerts.outbox import CHAT, SIGNED, all_alerts, settings_for
from tests.integration.alerts.receiving import PATIENCE_SECONDS, ReceivingServer
from tests.integration.alerts.test_reports import a_daemon
from tests.integration.store.rows import signature
from tests.integration.tasks.world import World
from zmartd.alert_settings import AlertSettings
from zmartd.alerts.vitals import VitalsReporter
from zmartd.clock import SystemClock
from zmartd.schedule import Every, Schedule
from zmartd.store import parked
from zmartd.store.parked import Unapplied
from zmartd.store.postgres.database import Database
from zmartd.tasks.alerts import Alerts
from zmartd.tasks.ledger import TaskLedger
from zmartd.tasks.scheduler import Scheduler
from zmartd.tasks.turns import Turns

DAEMONS = 3


@asynccontextmanager
async def daemons(
    world: World, database_url: str, redis: Redis, settings: AlertSettings
) -> AsyncIterator[list[VitalsReporter]]:
    """Each evaluates four times a second if it has the instant, and reports and delivers all the time."""
    async with AsyncExitStack() as stack:
        reporters = []
        for number in range(DAEMONS):
            name, clock = f"host:{number}", SystemClock()
            task = Alerts(
                world.own.context(
                    authority=None,
                    webhook=settings.webhook,
                    slack=settings.slack,
                    resolve_after_seconds=settings.resolve_after_seconds,
                )
            )
            task.schedule = Schedule(timing=Every(0.25), catch_up="last")
            scheduler = Scheduler(
                [task],
                TaskLedger(world.database, name, clock),
                Turns(redis, name, clock),
                clock,
                stop_seconds=0,
            )
            reporter = await stack.enter_async_context(a_daemon(database_url, redis, settings, place=name))
            stack.push_async_callback(scheduler.stop)
            await scheduler.start()
            reporters.append(reporter)
        yield reporters


async def evaluations(database: Database) -> int:
    async with database.service_reader() as reader:
        return int(
            await reader.fetchval("select count(*) from task_runs where task = 'alerts' and status = 'ran'")
        )


async def test_daemons_with_one_ledger_tell_each_alert_and_its_end_once(
    world: World, database_url: str, redis: Redis, server: ReceivingServer
) -> None:
    settings = settings_for(server.url, resolve_after_seconds=0)
    async with daemons(world, database_url, redis, settings) as reporters, asyncio.timeout(PATIENCE_SECONDS):

        async def report_until(number: int) -> None:
            while len(server.at(SIGNED)) < number or len(server.at(CHAT)) < number:
                await asyncio.gather(*(reporter.report() for reporter in reporters))

        async def evaluate_more(number: int) -> None:
            target = await evaluations(world.database) + number
            while await evaluations(world.database) < target:
                await asyncio.gather(*(reporter.report() for reporter in reporters))

        await evaluate_more(4)
        assert server.received == []
        async with world.database.service() as connection:
            await parked.add(connection, [Unapplied(signature("parked"), 7, "failed", "no")])
        await report_until(1)
        await evaluate_more(8)
        assert [received.body["type"] for received in server.at(SIGNED)] == ["alert.opened"]
        async with world.database.service() as connection:
            await parked.remove(connection, [signature("parked")])
        await report_until(2)
        await evaluate_more(8)
    assert [received.body["type"] for received in server.at(SIGNED)] == ["alert.opened", "alert.resolved"]
    assert len(server.at(CHAT)) == 2
    (alert,) = await all_alerts(world.database)
    assert (alert.rule, alert.subject) == ("parked", "transactions")
    assert alert.count > 1

"""What a daemon reports about itself, and what it does when the database is away."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.integration.alerts.outbox import CHAT, SECRET, SIGNED, Trouble, all_alerts, settings_for
from tests.integration.alerts.receiving import PATIENCE_SECONDS, ReceivingServer, status
from tests.statements import execute
from zmartd import config
from zmartd.alert_settings import AlertSettings
from zmartd.alerts.loop_lag import LoopLag
from zmartd.alerts.outages import Outages, rule_of
from zmartd.alerts.receivers import Receivers
from zmartd.alerts.reporting import reporting
from zmartd.alerts.rule import Finding
from zmartd.alerts.rules import RULES
from zmartd.alerts.system_gauges import PREFIX, SYSTEM
from zmartd.alerts.vitals import VitalsReporter
from zmartd.clock import SystemClock
from zmartd.config_values import PostgresUrl
from zmartd.embedded.postgres import Durability, EmbeddedPostgres
from zmartd.store import daemons
from zmartd.store.daemons import DaemonRow
from zmartd.store.postgres.database import FAILURES, Database
from zmartd.store.postgres.errors import unavailable
from zmartd.store.postgres.migrations import migrate

WELL = {
    "requests": 0,
    "request_errors": 0,
    "websockets_opened": 0,
    "websockets_lost": 0,
    "websockets_open": 0,
    "database_failures": 0,
}


class OffClock(SystemClock):
    """A machine's clock that is wrong."""

    def __init__(self, off_seconds: float) -> None:
        self._off_seconds = off_seconds

    def time(self) -> float:
        return SystemClock.time() + self._off_seconds


@asynccontextmanager
async def a_daemon(
    url: str,
    redis: Redis,
    settings: AlertSettings,
    *,
    place: str = "host:1",
    counts: Mapping[str, float] | None = None,
    off_seconds: float = 0.0,
    lag: LoopLag | None = None,
) -> AsyncIterator[VitalsReporter]:
    database = await Database.connect(config.DatabaseSettings(url=PostgresUrl(url), pool_size=3))
    try:
        async with reporting(
            settings,
            database=database,
            redis=redis,
            clock=OffClock(off_seconds),
            counts=lambda: dict(counts or WELL),
            lag=lag or LoopLag(SystemClock()),
            place=place,
            takes_webhooks=True,
        ) as reporter:
            yield reporter
    finally:
        database._pool.terminate()


async def rows(database: Database) -> dict[str, DaemonRow]:
    async with database.service_reader() as reader:
        return {one.place: one for one in await daemons.listed(reader)}


async def test_a_daemon_reports_itself_until_it_stops_in_order(
    database_url: str, database: Database, redis: Redis
) -> None:
    counts = {**WELL, "requests": 100, "websockets_open": 7}
    async with a_daemon(database_url, redis, AlertSettings(), counts=counts, off_seconds=-30) as reporter:
        await reporter.report()
        counts |= {"requests": 150, "request_errors": 5, "websockets_opened": 3, "websockets_lost": 2}
        await reporter.report()
        row = (await rows(database))["host:1"]
        assert (row.vitals.requests, row.vitals.request_errors) == (50, 5)
        assert (row.vitals.websockets, row.vitals.websockets_lost) == (10, 2)
        assert -31 < row.vitals.clock_skew_seconds < -25
        assert 0 < row.vitals.descriptors < row.vitals.descriptor_limit
        assert row.vitals.redis_failing_seconds == 0
        assert row.vitals.takes_webhooks
        assert row.stopped_at is None
    assert (await rows(database))["host:1"].stopped_at is not None


async def test_an_event_loop_that_stood_still_is_reported(
    database_url: str, database: Database, redis: Redis
) -> None:
    lag = LoopLag(SystemClock())
    async with a_daemon(database_url, redis, AlertSettings(), lag=lag) as reporter:
        watching = asyncio.create_task(lag.run())
        await asyncio.sleep(0.1)
        time.sleep(1.5)  # noqa: ASYNC251 - that is what it is about
        await asyncio.sleep(0.6)
        await reporter.report()
        watching.cancel()
    assert (await rows(database))["host:1"].vitals.loop_lag_seconds > 0.9


async def test_a_redis_that_does_not_answer_is_reported(
    database_url: str, database: Database, tmp_path: Path
) -> None:
    nobody = Redis(unix_socket_path=str(tmp_path / "nobody.sock"), retry=Retry(NoBackoff(), 0))
    async with a_daemon(database_url, nobody, AlertSettings()) as reporter:
        await reporter.report()
        await asyncio.sleep(0.05)
        await reporter.report()
    assert (await rows(database))["host:1"].vitals.redis_failing_seconds >= 0.05
    await nobody.aclose()


async def test_every_daemon_shows_how_many_alerts_are_open(
    database_url: str, database: Database, redis: Redis
) -> None:
    trouble = Trouble("parked")
    await trouble.evaluate(database, AlertSettings())
    async with a_daemon(database_url, redis, AlertSettings()) as reporter:
        await reporter.report()
        assert (
            REGISTRY.get_sample_value("zmartd_system_alerts_open", {"rule": "parked", "severity": "critical"})
            == 1
        )


async def test_every_daemon_shows_how_many_markets_the_alert_calls_stuck(
    database_url: str, database: Database, redis: Redis
) -> None:
    stuck = Trouble("stuck_markets")

    async def shown(*findings: Finding) -> float | None:
        stuck.findings = list(findings)
        await stuck.evaluate(database, AlertSettings())
        await reporter.report()
        return REGISTRY.get_sample_value("zmartd_system_markets_stuck", {"state": "RESOLVING"})

    async with a_daemon(database_url, redis, AlertSettings()) as reporter:
        assert await shown(Finding(3, "three", "RESOLVING")) == 3
        assert await shown(Finding(2, "two", "RESOLVING")) == 2
        assert await shown() == 0


async def test_every_daemon_shows_what_waits_in_the_index(
    database_url: str, database: Database, redis: Redis
) -> None:
    await execute(
        database_url,
        """
        insert into webhook_inbox (body, received_at, status) values
            ('', now() - interval '1000 seconds', 'done'), ('', now() - interval '500 seconds', 'pending'),
            ('', now() - interval '400 seconds', 'pending'), ('', now() - interval '300 seconds', 'parked');
        insert into pulses (number, committed_at, slot, chain_time, raised_at, newest_slot, newest_at)
            values (1, now(), 70, 0, now(), 100, now());
        insert into task_schedules
            (task, schedule, next_due_at, paused_until, paused_because, paused_by) values
            ('alerts', '15 s', to_timestamp(1000), null, null, null),
            ('reconciler', '15 s', to_timestamp(2000), null, null, null),
            ('auditor', '15 s', to_timestamp(1000), 'infinity', 'tired', 'me');
        insert into task_runs (task, fencing_token, status, started_at, daemon, due_at, last_due_at, instants,
                               lease_until) values
            ('alerts', 1, 'running', now(), 'here', now(), now(), 1, now() + interval '1 hour'),
            ('reconciler', 2, 'running', now(), 'gone', now(), now(), 1, now() - interval '1 second');
        """,
    )
    async with a_daemon(database_url, redis, AlertSettings()) as reporter:
        await reporter.report()
        shown = {
            (sample.name.removeprefix(PREFIX), *sample.labels.values()): sample.value
            for family in SYSTEM.collect()
            for sample in family.samples
        }
    assert 500 <= shown["inbox_oldest_seconds",] < 1_000
    assert 0 <= time.time() - shown["webhook_last_delivery_timestamp_seconds",] - 300 < 500
    assert shown["database_bytes",] > 1_000_000
    expected = {
        ("inbox_deliveries", "pending"): 2,
        ("inbox_deliveries", "parked"): 1,
        ("parked_transactions", "refused"): 0,
        ("chain_slot",): 100,
        ("index_lag_slots",): 30,
        ("task_next_due_timestamp_seconds", "reconciler"): 2_000,
        ("task_leases", "held"): 1,
        ("task_leases", "expired"): 1,
        ("database_lock_waits",): 0,
        ("failed_transitions",): 0,
    }
    assert {key: shown[key] for key in expected} == expected
    assert ("task_next_due_timestamp_seconds", "auditor") not in shown, "it is paused"
    assert ("task_next_due_timestamp_seconds", "alerts") not in shown, "it runs"


async def test_the_size_of_the_database_is_counted_once_a_minute(
    database_url: str, database: Database, redis: Redis
) -> None:
    async with a_daemon(database_url, redis, AlertSettings()) as reporter:
        await reporter.report()
        first = REGISTRY.get_sample_value(f"{PREFIX}database_bytes")
        await execute(
            database_url, "create table filler as select repeat('x', 1000) from generate_series(1, 1000)"
        )
        try:
            await reporter.report()
            assert REGISTRY.get_sample_value(f"{PREFIX}database_bytes") == first
            reporter._sized_at = float("-inf")
            await reporter.report()
        finally:
            await execute(database_url, "drop table filler")
        assert (REGISTRY.get_sample_value(f"{PREFIX}database_bytes") or 0) > (first or 0)


async def test_two_daemons_deliver_one_alert_once(
    database_url: str, database: Database, redis: Redis, server: ReceivingServer
) -> None:
    settings = settings_for(server.url)
    async with (
        a_daemon(database_url, redis, settings, place="host:1") as one,
        a_daemon(database_url, redis, settings, place="host:2") as two,
    ):
        for _ in range(5):
            await Trouble(f"trouble {uuid4().hex}").evaluate(database, settings)
            await asyncio.gather(one.report(), two.report(), two.report())
        await server.until(SIGNED, 5)
        await server.until(CHAT, 5)
        for reporter in (one, two):
            await reporter.report()
            await reporter._deliveries.drain()
    assert len({received.id for received in server.at(SIGNED)}) == len(server.at(SIGNED)) == 5
    assert len(server.at(CHAT)) == 5


@pytest.fixture
async def own_postgres(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A server that this test may stop."""
    async with EmbeddedPostgres(tmp_path / "postgres", Durability.DURABLE) as server:
        await migrate(server.dsn)
        yield server


async def fails_until_told(reporter: VitalsReporter, server: ReceivingServer, number: int = 1) -> None:
    """Report until so many messages came."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(server.at(SIGNED)) < number:
            assert await reporter.report() is None
            await reporter._outages.settle()


async def test_a_database_that_is_away_is_told_by_one_daemon_and_entered_when_it_is_back(
    own_postgres: EmbeddedPostgres, redis: Redis, server: ReceivingServer
) -> None:
    settings = settings_for(server.url, database_seconds=0.2)
    async with (
        a_daemon(own_postgres.dsn, redis, settings, place="host:1") as one,
        a_daemon(own_postgres.dsn, redis, settings, place="host:2") as two,
    ):
        for reporter in (one, two):
            await reporter.report()
        failures = FAILURES.total()
        await own_postgres.stop()
        await fails_until_told(one, server)
        for reporter in (two, one, two, one):
            await reporter.report()
            await asyncio.sleep(0.1)
            await reporter._outages.settle()
        (told,) = server.at(SIGNED)
        assert len(server.at(CHAT)) == 1
        assert FAILURES.total() > failures
        facts = told.body["data"]
        assert (told.body["type"], facts["rule"], facts["number"]) == (
            "alert.opened",
            "database_failures",
            None,
        )
        assert "host:1 says: Postgres cannot be used for " in facts["summary"]

        await own_postgres.start()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await one.report() is None or await two.report() is None:
                pass
        for reporter in (one, two, one):
            await reporter.report()
            await reporter._deliveries.drain()
        database = one._database
        (alert,) = await all_alerts(database)
        assert (alert.rule, alert.resolved_at) == ("database_failures", None)
        assert alert.last_delivered_at is not None
        assert len(server.at(SIGNED)) == 1

        quiet = Trouble("database_failures")
        quiet.findings = []
        over = settings_for(server.url, resolve_after_seconds=0)
        await quiet.evaluate(database, over)
        await one.report()
        assert [received.body["type"] for received in await server.until(SIGNED, 2)] == [
            "alert.opened",
            "alert.resolved",
        ]


async def test_without_redis_daemons_tell_and_remind_with_the_same_ids(
    own_postgres: EmbeddedPostgres, tmp_path: Path, server: ReceivingServer
) -> None:
    nobody = Redis(unix_socket_path=str(tmp_path / "nobody.sock"), retry=Retry(NoBackoff(), 0))
    settings = settings_for(server.url, chat=False, database_seconds=0.2, remind_seconds=2)
    async with (
        a_daemon(own_postgres.dsn, nobody, settings, place="host:1") as one,
        a_daemon(own_postgres.dsn, nobody, settings, place="host:2") as two,
    ):
        for _ in range(2):  # the second one sees that the first is there
            await asyncio.gather(one.report(), two.report())
        await own_postgres.stop()
        begun = int(SystemClock().time() // 600)
        await asyncio.gather(fails_until_told(one, server, 4), fails_until_told(two, server, 4))
        ids: dict[str, set[str]] = {}
        for received in server.at(SIGNED)[:4]:
            ids.setdefault(received.body["data"]["summary"][:6] + received.body["type"], set()).add(
                received.id
            )
        assert set(ids) == {f"host:{one}alert.{kind}" for one in (1, 2) for kind in ("opened", "reminder")}
        if int(SystemClock().time() // 600) == begun:
            assert ids["host:1alert.opened"] == ids["host:2alert.opened"]
            assert ids["host:1alert.reminder"] == ids["host:2alert.reminder"]
        await own_postgres.start()
    await nobody.aclose()


async def test_a_receiver_that_fails_meanwhile_is_told_again_with_the_same_id(
    own_postgres: EmbeddedPostgres, redis: Redis, server: ReceivingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zmartd.alerts.outages.PAUSES_SECONDS", (0.1,))
    settings = settings_for(server.url, database_seconds=0.2)
    server.instead(SIGNED, status(500), status(503))
    async with a_daemon(own_postgres.dsn, redis, settings) as one:
        await own_postgres.stop()
        await fails_until_told(one, server, 3)
        for _ in range(5):
            await one.report()
            await one._outages.settle()
        assert len({received.id for received in server.at(SIGNED)}) == 1
        assert len(server.at(SIGNED)) == 3
        assert len(server.at(CHAT)) == 1
        await own_postgres.start()


async def test_a_database_that_takes_no_writes_is_told_as_such(
    own_postgres: EmbeddedPostgres, redis: Redis, server: ReceivingServer
) -> None:
    settings = settings_for(server.url, database_seconds=0.2)
    await execute(
        own_postgres.dsn, "alter system set default_transaction_read_only = on", "select pg_reload_conf()"
    )
    async with a_daemon(own_postgres.dsn, redis, settings) as one:
        await fails_until_told(one, server)
    (told,) = server.at(SIGNED)
    facts: dict[str, Any] = told.body["data"]
    assert (facts["rule"], facts["remedy"]) == ("database_read_only", RULES["database_read_only"].remedy)
    assert "takes no writes" in facts["summary"]
    for secret in (SECRET, "path-secret", "chat-secret"):
        assert secret not in told.raw.decode()


async def recovers(reporter: VitalsReporter) -> None:
    """Report until that succeeds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await reporter.report() is None:
            pass


async def test_an_outage_that_became_another_one_does_not_silence_the_next(
    own_postgres: EmbeddedPostgres, redis: Redis, server: ReceivingServer
) -> None:
    settings = settings_for(server.url, database_seconds=0.2)
    async with a_daemon(own_postgres.dsn, redis, settings) as one:
        await own_postgres.stop()
        await fails_until_told(one, server)
        await own_postgres.start()
        read_only = "default_transaction_read_only"
        await execute(own_postgres.dsn, f"alter system set {read_only} = on", "select pg_reload_conf()")
        assert await one.report() is None
        await execute(own_postgres.dsn, f"alter system reset {read_only}", "select pg_reload_conf()")
        await recovers(one)
        assert await redis.keys("zmartd:alert:*") == []
        await own_postgres.stop()
        await fails_until_told(one, server, 2)
        assert len({received.id for received in server.at(SIGNED)}) == 2
        await own_postgres.start()


async def test_a_daemon_that_was_restarted_meanwhile_tells_the_next_outage(
    own_postgres: EmbeddedPostgres, redis: Redis, server: ReceivingServer
) -> None:
    settings = settings_for(server.url, database_seconds=0.2)
    async with a_daemon(own_postgres.dsn, redis, settings) as before:
        await own_postgres.stop()
        await fails_until_told(before, server)
    await own_postgres.start()
    async with a_daemon(own_postgres.dsn, redis, settings) as after:
        await recovers(after)
        assert await redis.keys("zmartd:alert:*") == []
        await own_postgres.stop()
        await fails_until_told(after, server, 2)
        assert len({received.id for received in server.at(SIGNED)}) == 2
        await own_postgres.start()


async def test_an_outage_is_reminded_of_by_one_daemon(redis: Redis, server: ReceivingServer) -> None:
    clock = SystemClock()
    settings = settings_for(server.url, chat=False, database_seconds=0.1, remind_seconds=1)
    receivers = Receivers(settings, clock)
    daemons = [
        Outages(settings, receivers, redis, clock, daemon=f"host:{one}", rng=random.Random(one))
        for one in range(2)
    ]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(server.at(SIGNED)) < 3:
            for outages in daemons:
                outages.failed(OSError(), "it is away")
            await asyncio.gather(*(outages.settle() for outages in daemons), asyncio.sleep(0.02))
    await receivers.close()
    messages = server.at(SIGNED)
    assert [one.body["type"] for one in messages] == ["alert.opened", "alert.reminder", "alert.reminder"]
    assert len({one.id for one in messages}) == 3
    first, second, third = (one.body["data"]["measured"] for one in messages)
    assert second - first >= 0.9
    assert third - second >= 0.9


def test_a_full_disk_is_told_as_such() -> None:
    refused = asyncpg.DiskFullError("could not extend file")
    error = unavailable("postgresql://u:p@h/d", refused)
    error.__cause__ = refused
    assert rule_of(error) is RULES["database_full"]
    assert rule_of(TimeoutError()) is RULES["database_failures"]

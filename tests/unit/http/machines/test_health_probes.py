from __future__ import annotations

import asyncio
from typing import Any

import structlog
from prometheus_client import REGISTRY

from zmartd.http.machines.health import FRESH_SECONDS, Check, Dependency, Health

SOON = 0.01
"""A probe that takes longer is late."""


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


class Probed:
    """A dependency that counts how often it is looked at."""

    def __init__(self) -> None:
        self.times = 0
        self.away = False
        self.hangs = False

    async def probe(self) -> None:
        self.times += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.away:
            raise ConnectionError


async def test_the_public_check_probes_essential_dependencies_once_for_all_who_ask() -> None:
    clock, database, rpc = Clock(), Probed(), Probed()
    health = Health(
        {"rpc": Dependency(probe=rpc.probe), "database": Dependency(probe=database.probe, essential=True)},
        clock,
    )
    for _ in range(50):
        assert await health.is_serving()
    assert (database.times, rpc.times) == (1, 0)
    clock.now += FRESH_SECONDS
    assert all(await asyncio.gather(*(health.is_serving() for _ in range(50))))
    assert (database.times, rpc.times) == (2, 0)


async def test_essential_dependencies_decide_whether_the_daemon_serves() -> None:
    clock, database, rpc = Clock(), Probed(), Probed()
    health = Health(
        {"rpc": Dependency(probe=rpc.probe), "database": Dependency(probe=database.probe, essential=True)},
        clock,
    )
    rpc.away = True
    checks = await health.checks()
    assert [(name, check.status) for name, check in checks.items()] == [("rpc", "error"), ("database", "ok")]
    assert (health.verdict(checks), await health.is_serving()) == ("degraded", True)
    clock.now += FRESH_SECONDS
    database.away = True
    checks = await health.checks()
    assert (health.verdict(checks), await health.is_serving()) == ("unhealthy", False)


async def test_a_probe_that_hangs_is_late_and_one_that_ends_again_is_right_at_once() -> None:
    clock, database = Clock(), Probed()
    health = Health({"database": Dependency(probe=database.probe, essential=True)}, clock, probe_seconds=SOON)
    database.hangs = True
    assert not await health.is_serving()
    late = Check("error", "database does not answer within 0.01 s.")
    assert (await health.checks())["database"] == late
    database.hangs = False
    clock.now += FRESH_SECONDS
    assert await health.is_serving()
    await health.close()


async def test_probes_that_cannot_be_cancelled_do_not_pile_up() -> None:
    clock, times, may_end = Clock(), 0, asyncio.Event()

    async def stubborn() -> None:
        nonlocal times
        times += 1
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    health = Health({"database": Dependency(probe=stubborn, essential=True)}, clock, probe_seconds=SOON)
    for _ in range(5):
        assert not await health.is_serving()
        clock.now += FRESH_SECONDS
    assert times == 2
    may_end.set()
    await asyncio.sleep(0)
    assert await health.is_serving()
    await health.close()


async def test_the_log_names_what_is_away_ever_less_often_and_when_it_is_back() -> None:
    clock, redis = Clock(), Probed()
    health = Health({"redis": Dependency(probe=redis.probe, watch_seconds=2.0)}, clock)
    redis.away = True
    with structlog.testing.capture_logs() as lines:
        watching = asyncio.create_task(health.watch())
        while clock.now < 400:  # noqa: ASYNC110 - it is the clock that moves
            await asyncio.sleep(0)
        redis.away = False
        back_at = clock.now + 5
        while clock.now < back_at:  # noqa: ASYNC110
            await asyncio.sleep(0)
        watching.cancel()
    ours = [line for line in lines if line["event"].startswith("dependency.")]
    away = [line for line in ours if line["event"] == "dependency.away"]
    assert [round(line["seconds"]) for line in away] == [0, 5, 35, 155]
    assert _reasons(away) == {"redis does not answer."}
    (back,) = [line for line in ours if line["event"] == "dependency.back"]
    assert back["dependency"] == "redis"
    assert back["seconds"] >= 400


def _reasons(lines: list[Any]) -> set[str]:
    return {line["reason"] for line in lines}


async def test_nothing_is_said_about_what_needs_something_that_is_away() -> None:
    clock, database, index = Clock(), Probed(), Probed()
    health = Health(
        {
            "database": Dependency(probe=database.probe, essential=True),
            "index": Dependency(probe=index.probe, needs="database"),
        },
        clock,
    )
    database.away = index.away = True
    assert (await health.checks())["index"] == Check("unknown", "unknown while database is away")
    clock.now += FRESH_SECONDS
    database.away = False
    assert (await health.checks())["index"].status == "error"


async def test_metrics_show_what_checks_find_and_nothing_where_that_is_unknown() -> None:
    clock, rpc = Clock(), Probed()
    health = Health(
        {
            "rpc of a test": Dependency(probe=rpc.probe),
            "program of a test": Dependency(probe=Probed().probe, needs="rpc of a test"),
        },
        clock,
    )

    def shown(check: str) -> float | None:
        return REGISTRY.get_sample_value("zmartd_health_check", {"check": check})

    async def watched() -> tuple[float | None, float | None]:
        watching = asyncio.create_task(health.watch())
        until = clock.now + 60
        while clock.now < until:  # noqa: ASYNC110 - it is the clock that moves
            await asyncio.sleep(0)
        watching.cancel()
        return shown("rpc of a test"), shown("program of a test")

    rpc.away = True
    assert await watched() == (0, None)
    rpc.away = False
    assert await watched() == (1, 1)

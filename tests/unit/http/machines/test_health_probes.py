from __future__ import annotations

import asyncio

from zmartd.http.machines.health import Dependency, Health


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


class Probed:
    """A dependency that counts how often it is looked at."""

    def __init__(self) -> None:
        self.times = 0
        self.away = False

    async def probe(self) -> None:
        self.times += 1
        if self.away:
            raise ConnectionError


async def test_the_public_check_probes_essential_dependencies_every_two_seconds() -> None:
    clock, database, rpc = Clock(), Probed(), Probed()
    health = Health(
        {"rpc": Dependency(rpc.probe, False), "database": Dependency(database.probe, True)}, clock
    )
    for _ in range(50):
        assert await health.is_serving()
    assert (database.times, rpc.times) == (1, 0)
    clock.now += 2
    assert all(await asyncio.gather(*(health.is_serving() for _ in range(50))))
    assert (database.times, rpc.times) == (2, 0)


async def test_essential_dependencies_decide_whether_the_daemon_serves() -> None:
    clock, database, rpc = Clock(), Probed(), Probed()
    health = Health(
        {"rpc": Dependency(rpc.probe, False), "database": Dependency(database.probe, True)}, clock
    )
    rpc.away = True
    checks = await health.checks()
    assert [(name, check.status) for name, check in checks.items()] == [("rpc", "error"), ("database", "ok")]
    assert (health.verdict(checks), await health.is_serving()) == ("degraded", True)
    clock.now += 2
    database.away = True
    checks = await health.checks()
    assert (health.verdict(checks), await health.is_serving()) == ("unhealthy", False)


async def test_a_hanging_probe_delays_nobody_and_decides_nothing() -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    health = Health({"database": Dependency(hangs, True)}, Clock())
    assert await health.is_serving()
    assert (await health.checks())["database"].status == "unknown"
    await health.close()

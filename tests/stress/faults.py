"""What goes wrong on purpose: every fault, the moment at which it strikes, and how it is put right."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import asyncpg
from msgspec import Struct
from redis.asyncio import Redis

from tests.stress.proxy import COMMIT, Proxy
from tests.stress.rig import Rig
from tests.stress.waiting import until
from zmartd.faults import Point

LASTS_SECONDS = 2.5
HANG_SECONDS = 5.0
"""Longer than the daemon waits for a query or a command."""
ROLLBACK_SLOTS = 12
CUT_SECONDS = 600.0
CUTS = 6
"""Commits that are cut, one after the other."""
FLUSHES = 5

Act = Callable[[Rig], Awaitable[None]]


class Fault(Struct, frozen=True):
    """`strike` breaks something while everybody acts and returns when that was felt; `heal` mends it."""

    what: str
    moment: str
    subject: str
    """Faults of different subjects can strike together."""
    strike: Act
    heal: Act
    reconciling: bool = True
    """Without the reconciler, what was acknowledged has only the inbox to come through."""

    @property
    def name(self) -> str:
        return f"{self.what}, {self.moment}"


def catalogue() -> list[Fault]:
    """Every fault that there is."""
    return [*_kills(), *_webhooks(), *_postgres(), *_redis(), *_rpc(), *_forks()]


# The daemon

INBOX_POINTS = tuple(point for point in Point if point.split(".")[0] in ("inbox", "apply", "publish"))
"""On the way of a delivery: these deaths are died without a reconciler that would make up for them."""


def _kills() -> Iterator[Fault]:
    for point in Point:
        alone = point in INBOX_POINTS and point is not Point.APPLY_UNDONE
        yield Fault("kill -9", point, "daemon", _kill_at(point), _start_daemon, reconciling=not alone)
    yield Fault("kill -9", "anywhere", "daemon", _kill, _start_daemon)
    yield Fault("restart in order", "anywhere", "daemon", _stop, _start_daemon)


def _kill_at(point: Point) -> Act:
    async def strike(rig: Rig) -> None:
        await rig.system.daemon.kill_at(point)
        if point is Point.APPLY_UNDONE:
            await asyncio.sleep(1.0)
            await _roll_back(rig)
        await rig.system.daemon.until_killed()

    return strike


async def _kill(rig: Rig) -> None:
    await asyncio.sleep(1.0)
    await rig.system.daemon.kill()
    await asyncio.sleep(LASTS_SECONDS)


async def _stop(rig: Rig) -> None:
    await asyncio.sleep(1.0)
    await rig.system.daemon.stop()
    await asyncio.sleep(LASTS_SECONDS)


async def _start_daemon(rig: Rig) -> None:
    await rig.system.daemon.start()


# What brings the news


def _webhooks() -> Iterator[Fault]:
    for what, faults in {
        "webhooks dropped 30 %": {"drop": 0.3},
        "webhooks dropped, all": {"drop": 1.0},
        "webhooks doubled 30 %": {"duplicate": 0.3},
        "webhooks reordered": {"reorder": True},
        "webhooks late": {"delayMs": 1_500},
        # These arrive while later faults strike, and are judged with them.
        "webhooks minutes late": {"delayMs": 100_000},
        "all of these": {"drop": 0.3, "duplicate": 0.3, "reorder": True, "delayMs": 500},
    }.items():
        yield Fault(what, "under load", "node", _misbehave(webhook=faults), _behave)


def _rpc() -> Iterator[Fault]:
    for what, faults in {
        "RPC answers 429": {"failRate": 0.5, "status": 429},
        "RPC answers 500": {"failRate": 0.5, "status": 500},
        "RPC answers 503, always": {"failRate": 1.0, "status": 503},
        "RPC does not answer": {"failRate": 0.5, "status": "timeout"},
        "RPC node is behind": {"failRate": 0.5, "status": "unhealthy"},
        "RPC answers get lost": {"failRate": 0.5, "status": 503, "after": True},
    }.items():
        yield Fault(what, "under load", "node", _misbehave(rpc=faults), _behave)
    lost = {"loseNext": 6}
    yield Fault("RPC loses transactions", "under load", "node", _misbehave(rpc=lost), _behave)


def _misbehave(**faults: object) -> Act:
    async def strike(rig: Rig) -> None:
        await rig.system.cheat("zmartd_setFaults", faults)
        await asyncio.sleep(LASTS_SECONDS)

    return strike


async def _behave(rig: Rig) -> None:
    await rig.system.cheat("zmartd_setFaults", {})


# The database


def _postgres() -> Iterator[Fault]:
    def fault(what: str, moment: str, strike: Act, heal: Act, *, reconciling: bool = True) -> Fault:
        return Fault(f"Postgres {what}", moment, "postgres", strike, heal, reconciling)

    yield fault("kill -9", "under load", _crash_postgres, _start_postgres)
    yield fault("restart in order", "under load", _stop_postgres, _start_postgres)
    yield fault("hangs", "under load", _hang(_database), _go_on(_database))
    yield fault("refuses connections", "under load", _refuse(_database), _admit(_database))
    yield fault("connections cut", "under load", _cut(_database), _go_on(_database))
    for alone in (True, False):
        after = "alone with its inbox" if alone else "under load"
        yield fault(
            "connection cut",
            f"before a commit arrives, {after}",
            _cut_at_commit(after_it_is_done=False),
            _go_on(_database),
            reconciling=not alone,
        )
        yield fault(
            "connection cut",
            f"after a commit is done, {after}",
            _cut_at_commit(after_it_is_done=True),
            _go_on(_database),
            reconciling=not alone,
        )
    yield fault("has no connection left", "under load", _take_all_connections, _nothing)
    yield fault("only reads", "under load", _forbid_writing, _allow_writing)
    yield fault("only reads", "alone with its inbox", _forbid_writing, _allow_writing, reconciling=False)


async def _crash_postgres(rig: Rig) -> None:
    await rig.system.crash_postgres()
    await asyncio.sleep(1.0)


async def _stop_postgres(rig: Rig) -> None:
    await rig.system.postgres.stop()
    await asyncio.sleep(1.0)


async def _start_postgres(rig: Rig) -> None:
    await rig.system.postgres.start()


async def _take_all_connections(rig: Rig) -> None:
    """Cut the daemon's connections and be quicker than it to open new ones."""
    taken: list[asyncpg.Connection] = []
    rig.system.database_door.cut()
    try:
        async with asyncio.timeout(LASTS_SECONDS):
            while True:
                try:
                    taken.append(await asyncpg.connect(rig.system.postgres.dsn))
                except (asyncpg.TooManyConnectionsError, asyncpg.CannotConnectNowError):
                    rig.system.database_door.cut()
                    await asyncio.sleep(0.1)
    except TimeoutError:
        pass
    finally:
        for connection in taken:
            await connection.close()


async def _forbid_writing(rig: Rig) -> None:
    """What hosts do to a server whose disk is nearly full."""
    await _configure(rig, "alter system set default_transaction_read_only = on")
    await asyncio.sleep(LASTS_SECONDS)


async def _allow_writing(rig: Rig) -> None:
    await _configure(rig, "alter system reset default_transaction_read_only")


async def _configure(rig: Rig, statement: str) -> None:
    connection = await asyncpg.connect(rig.system.postgres.dsn)
    try:
        await connection.execute(statement)
        await connection.execute("select pg_reload_conf()")
    finally:
        await connection.close()


# Redis


def _redis() -> Iterator[Fault]:
    def fault(what: str, strike: Act, heal: Act) -> Fault:
        return Fault(f"Redis {what}", "under load", "redis", strike, heal)

    yield fault("kill -9", _crash_valkey, _start_valkey)
    yield fault("restart in order", _stop_valkey, _start_valkey)
    yield fault("hangs", _hang(_cache), _go_on(_cache))
    yield fault("refuses connections", _refuse(_cache), _admit(_cache))
    yield fault("connections cut", _cut(_cache), _go_on(_cache))
    yield fault("is full", _fill_valkey, _empty_valkey)
    yield fault("is flushed", _flush_valkey, _nothing)


async def _crash_valkey(rig: Rig) -> None:
    await rig.system.crash_valkey()
    await asyncio.sleep(1.0)


async def _stop_valkey(rig: Rig) -> None:
    await rig.system.stop_valkey()
    await asyncio.sleep(1.0)


async def _start_valkey(rig: Rig) -> None:
    await rig.system.start_valkey()


async def _fill_valkey(rig: Rig) -> None:
    await _limit_memory(rig, "1")
    await asyncio.sleep(LASTS_SECONDS)


async def _empty_valkey(rig: Rig) -> None:
    await _limit_memory(rig, "256mb")


async def _flush_valkey(rig: Rig) -> None:
    client = Redis.from_url(rig.system.valkey.url)
    try:
        for _ in range(FLUSHES):
            await client.flushall()
            await asyncio.sleep(LASTS_SECONDS / FLUSHES)
    finally:
        await client.aclose()


async def _limit_memory(rig: Rig, limit: str) -> None:
    client = Redis.from_url(rig.system.valkey.url)
    try:
        await client.config_set("maxmemory", limit)
    finally:
        await client.aclose()


# Doors

Door = Callable[[Rig], Proxy]


def _database(rig: Rig) -> Proxy:
    return rig.system.database_door


def _cache(rig: Rig) -> Proxy:
    return rig.system.redis_door


def _hang(door: Door) -> Act:
    async def strike(rig: Rig) -> None:
        door(rig).hang()
        await asyncio.sleep(HANG_SECONDS)

    return strike


def _refuse(door: Door) -> Act:
    async def strike(rig: Rig) -> None:
        await door(rig).refuse()
        await asyncio.sleep(LASTS_SECONDS)

    return strike


def _admit(door: Door) -> Act:
    async def heal(rig: Rig) -> None:
        await door(rig).open()

    return heal


def _cut(door: Door) -> Act:
    async def strike(rig: Rig) -> None:
        for _ in range(CUTS):
            door(rig).cut()
            await asyncio.sleep(LASTS_SECONDS / CUTS)

    return strike


def _cut_at_commit(*, after_it_is_done: bool) -> Act:
    async def strike(rig: Rig) -> None:
        door = rig.system.database_door
        before = door.connections_cut
        door.cut_at(COMMIT, CUTS, after_it_is_done=after_it_is_done)

        async def all_cut() -> bool:
            return door.connections_cut >= before + CUTS

        await until(all_cut, CUT_SECONDS, f"{CUTS} commits were not cut")

    return strike


def _go_on(door: Door) -> Act:
    async def heal(rig: Rig) -> None:
        door(rig).spare()
        door(rig).go_on()

    return heal


async def _nothing(_rig: Rig) -> None:
    """It has passed by itself."""


# The chain


def _forks() -> Iterator[Fault]:
    yield Fault("rollback", "under load", "chain", _fork, _nothing)
    yield Fault("rollback", "while the daemon is down", "daemon", _fork_unseen, _start_daemon)


async def _fork(rig: Rig) -> None:
    await asyncio.sleep(LASTS_SECONDS)
    await _roll_back(rig)
    await asyncio.sleep(1.0)


async def _fork_unseen(rig: Rig) -> None:
    await asyncio.sleep(LASTS_SECONDS)
    await rig.system.daemon.kill()
    await _roll_back(rig)
    await asyncio.sleep(1.0)


async def _roll_back(rig: Rig) -> None:
    await rig.system.cheat("zmartd_rollback", {"slots": ROLLBACK_SLOTS})

"""The probes behind /health: what each asks, and what it says to an operator when something does not work.

Each is run by `zmartd.http.machines.health`, which gives it a second.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from typing import Final

from redis.exceptions import RedisError

from zmartd.alerts.index_rules import webhook_silent
from zmartd.alerts.loop_lag import LoopLag
from zmartd.alerts.rule import Facts
from zmartd.alerts.vitals import open_descriptors, skew
from zmartd.chain.accounts import GlobalConfig
from zmartd.core import Core
from zmartd.dependencies import redis_unavailable, require_program
from zmartd.errors import ZmartdError
from zmartd.http.auth.tokens import LEEWAY_SECONDS
from zmartd.http.machines.health import Dependency, Health
from zmartd.http.server.file_descriptors import has_free
from zmartd.indexer.events.incomplete import require_complete
from zmartd.metrics import Remembered
from zmartd.realtime.beats import Beats
from zmartd.store import alert_facts, daemons, electorates, parked, task_ledger
from zmartd.store.postgres.probe import require_writes
from zmartd.tasks.plugins import BrokenPlugin

CHAIN_WATCH_SECONDS: Final = 30.0
"""How often a node is asked for the log alone: its answers cost money."""
CHAIN_LEEWAY_SECONDS: Final = 120.0
"""How far the chain's clock may be from this machine's: its validators estimate it."""
_EXPLANATION_LENGTH: Final = 200
_OLD_SECONDS: Final = 2.5 * CHAIN_WATCH_SECONDS

_SKEW: Final = Remembered(
    "zmartd_clock_skew_seconds",
    "How far this machine's clock is ahead of another one, at its last answer; 0 where it may be right.",
    ["against"],
    fresh_seconds=_OLD_SECONDS,
)
_LAMPORTS: Final = Remembered(
    "zmartd_authority_lamports",
    "Balance of the backend authority, whose key this daemon has.",
    fresh_seconds=_OLD_SECONDS,
)
_REDIS_KEY: Final = "zmartd:probe:"
_FULL: Final = 10_000
_CLOCKS: Final = {"postgres": "Postgres", "redis": "Redis", "chain": "the chain"}


class NotWorking(ZmartdError):
    """A part of the daemon, or of what it depends on, does not work."""

    code = "not_working"


class TransactionsParked(ZmartdError):
    """Transactions on the chain could not be read or applied."""

    code = "transactions_parked"


class TasksFailing(ZmartdError):
    """A periodic task fails, or its plugin cannot be loaded."""

    code = "tasks_failing"


class RealtimeDegraded(ZmartdError):
    """Beats say that a part does not work that clients of the WebSocket depend on."""

    code = "realtime_degraded"


class Probes:
    """The probes of a daemon with this core."""

    def __init__(self, core: Core, beats: Beats, lag: LoopLag) -> None:
        self._core = core
        self._beats = beats
        self._redis_key = f"{_REDIS_KEY}{secrets.token_hex(8)}"
        self._turn = asyncio.Lock()
        """What is not essential takes one connection to Postgres at a time."""
        self._lag = lag
        self._ahead: dict[str, float] = {}
        """How far the machine's clock was ahead of others at the last answers, in seconds."""

    def health(self) -> Health:
        """All of them, by the name that an operator reads."""
        return Health(
            {
                "database": Dependency(probe=self.database, essential=True),
                "replica": Dependency(probe=self.replica, needs="database"),
                "redis": Dependency(probe=self.redis, watch_seconds=2.0),
                "rpc": Dependency(probe=self.rpc, watch_seconds=CHAIN_WATCH_SECONDS),
                "program": Dependency(probe=self.program, needs="rpc", watch_seconds=CHAIN_WATCH_SECONDS),
                "authority": Dependency(probe=self.authority, needs="rpc", watch_seconds=CHAIN_WATCH_SECONDS),
                "clock": Dependency(probe=self.clocks),
                "event_loop": Dependency(probe=self.event_loop, watch_seconds=1.0),
                "descriptors": Dependency(probe=self.descriptors),
                "webhook": Dependency(probe=self.webhook, needs="database"),
                "tasks": Dependency(probe=self.tasks, needs="database"),
                "markets": Dependency(probe=self.markets, needs="database"),
                "index": Dependency(probe=self.index, needs="database"),
                "realtime": Dependency(probe=self.realtime),
            },
            self._core.clock,
        )

    async def database(self) -> None:
        """Postgres answers and takes writes, new connections are let in, and its disk is not full."""
        clock, database = self._core.clock, self._core.database
        before, wall = clock.monotonic(), clock.time()
        async with database.service_reader() as reader:
            now = await require_writes(reader)
        self._compared("postgres", wall, before, now.timestamp())
        if (refusal := database.last_refusal) is not None:
            raise refusal

    async def replica(self) -> None:
        """The replica is one of this database, and keeps up; or there is none."""
        await self._core.replica.require_usable()

    async def redis(self) -> None:
        """Redis answers and takes writes."""
        clock, redis = self._core.clock, self._core.redis
        before, wall = clock.monotonic(), clock.time()
        try:
            async with redis.pipeline(transaction=False) as pipeline:
                pipeline.set(self._redis_key, b"", px=60_000)
                pipeline.time()
                _, (seconds, microseconds) = await pipeline.execute()
        except (RedisError, OSError) as error:
            raise redis_unavailable(self._core.settings.redis, error) from error
        answer = seconds + microseconds / 1_000_000
        self._compared("redis", wall, before, answer)

    async def rpc(self) -> None:
        """The node answers."""
        clock = self._core.clock
        before, wall = clock.monotonic(), clock.time()
        time = await self._core.rpc.chain_time()
        if self._core.settings.solana.cluster != "localnet":  # whose clock can be moved
            self._compared("chain", wall, before, time.unix_timestamp)

    async def program(self) -> None:
        """The program is where the settings say, and has its configuration."""
        await self._configuration()

    async def authority(self) -> None:
        """The daemon's key is the program's authority, and has lamports for fees."""
        configuration = await self._configuration()
        if not self._core.authorities:
            return
        address, least = configuration.backend_authority, self._core.settings.alerts.authority_min_lamports
        if address not in self._core.authorities:
            raise NotWorking(
                f"the key of this daemon is {' or '.join(map(str, self._core.authorities))}, but the "
                f"program's backend authority is {address}: give the right key"
            )
        account = await self._core.rpc.account(address)
        lamports = 0 if account is None else account.lamports
        _LAMPORTS.set(lamports)
        if lamports < least:
            raise NotWorking(f"{address} has {lamports} lamports for fees: send it at least {least}")

    async def _configuration(self) -> GlobalConfig:
        configuration = await require_program(self._core.rpc, self._core.idl.program_id)
        if configuration is None:
            raise NotWorking(
                f"{self._core.idl.program_id} has no configuration yet: its admin has to send "
                "initialize_global_config"
            )
        return configuration

    def _compared(self, against: str, asked_at: float, began_at: float, answer: float) -> None:
        """Note what another clock said, that was asked at these times of the machine's two clocks."""
        ahead = skew(asked_at, self._core.clock.monotonic() - began_at, answer)
        self._ahead[against] = ahead
        _SKEW.set(ahead, against)

    async def clocks(self) -> None:
        """The machine's clock is right, as far as the last answers of Postgres, Redis and the chain say."""
        await self._core.clock.sleep(0)
        off = [
            f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} {_CLOCKS[other]}"
            for other, seconds in self._ahead.items()
            if abs(seconds) > (CHAIN_LEEWAY_SECONDS if other == "chain" else LEEWAY_SECONDS)
        ]
        if off:
            raise NotWorking(f"this machine's clock is {' and '.join(off)}: set up NTP (chrony)")

    async def event_loop(self) -> None:
        """The event loop does not stand still."""
        seconds, most = self._lag.seconds, self._core.settings.alerts.event_loop_lag_seconds
        if seconds > most:
            raise NotWorking(f"the event loop stood still for {seconds:.1f} s: is the machine overloaded?")

    async def descriptors(self) -> None:
        """File descriptors are left."""
        used, most = open_descriptors()
        share = self._core.settings.alerts.descriptors_bps
        if not has_free() or (most and used * _FULL > most * share):
            raise NotWorking(
                f"{used} of {most} file descriptors are in use: raise LimitNOFILE, or lower "
                "server.max_connections"
            )

    async def webhook(self) -> None:
        """What happens on the chain is delivered by the webhook."""
        for finding in webhook_silent(await self._facts(), self._core.settings.alerts):
            raise NotWorking(f"{finding.summary}: look at the webhook at Helius")

    async def markets(self) -> None:
        """No market has failed to move on."""
        failed = (await self._facts()).index.failed_transitions
        if failed.number > self._core.settings.alerts.failed_transitions:
            raise NotWorking(
                f"{failed.number} markets could not be moved on: {', '.join(failed.examples)}; "
                "`zmartd tasks explain market_monitor` says why"
            )

    async def _facts(self) -> Facts:
        settings = self._core.settings.alerts
        async with self._turn, self._core.database.service_reader() as reader:
            index = await alert_facts.read(reader, settings, with_size=False)
            return Facts(index=index, chain=None, daemons=await daemons.listed(reader))

    async def index(self) -> None:
        """Nothing of the chain's history is missing or set aside."""
        async with self._turn, self._core.database.service() as connection:
            await require_complete(connection)
            number = sum((await parked.counts(connection)).values())
            await electorates.require_decided(connection)
        if number:
            raise TransactionsParked(
                f"{number} transactions could not be read or applied yet; `zmartd inbox parked` lists them"
            )

    async def tasks(self) -> None:
        """The last run of no task has failed."""
        scheduler = self._core.scheduler
        async with self._turn, self._core.database.service_reader() as connection:
            last = await task_ledger.latest_runs(connection, scheduler.names, ended=True)
        require_working_tasks(last.values(), self._core.broken_tasks)

    async def realtime(self) -> None:
        """Clients of streams have everything."""
        if self._beats.degraded:
            raise RealtimeDegraded(
                f"Not working, so that WebSocket clients may lack something: "
                f"{', '.join(self._beats.degraded)}."
            )


def require_working_tasks(last: Iterable[task_ledger.Entry], broken: Iterable[BrokenPlugin]) -> None:
    """Raises TasksFailing where a task's last run failed, on any daemon, or a plugin could not be loaded.

    A run that ended well with actions that are not ok has not failed.
    """
    failed = [
        f"{run.task} ({run.explanation[:_EXPLANATION_LENGTH]})"
        for run in last
        if run.outcome == "failed" and run.explanation
    ]
    unloaded = [f"{plugin.name} ({plugin.problem})" for plugin in broken]
    problems = []
    if failed:
        problems.append(f"the last run failed of: {', '.join(failed)}")
    if unloaded:
        problems.append(f"cannot be loaded: {', '.join(unloaded)}")
    if problems:
        raise TasksFailing(f"{'; '.join(problems)}; the log says more")

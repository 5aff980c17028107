"""What this daemon knows only about itself, reported to Postgres every few seconds.

Postgres and not Redis, because the rules are evaluated there: whoever can evaluate them sees what all daemons
say. What happens to this daemon while Postgres is away is told by `outages`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import Callable, Mapping
from typing import Final
from uuid import UUID

from msgspec.structs import replace
from redis.asyncio import Redis
from redis.exceptions import RedisError

from zmartd.alerts.deliveries import Deliveries
from zmartd.alerts.loop_lag import LoopLag
from zmartd.alerts.outages import Outages
from zmartd.alerts.system_gauges import SYSTEM
from zmartd.alerts.windows import Window
from zmartd.cancellation import is_being_cancelled
from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.store import daemons, system_gauges
from zmartd.store.daemons import Standing, Vitals
from zmartd.store.postgres.database import Database

REPORT_SECONDS: Final = 5.0
SIZE_SECONDS: Final = 60.0
"""How often the size of the database is counted."""
REDIS_PATIENCE_SECONDS: Final = 1.0
_DESCRIPTORS: Final = "/dev/fd"

log = get_logger(__name__)


class VitalsReporter:
    """Reports, and begins to deliver what waits for it. `run` has to be running.

    `counts` gives numbers of this process that only grow: `requests`, `request_errors`, `websockets_opened`,
    `websockets_lost` and `database_failures`; and `websockets_open`, which does not.
    """

    def __init__(
        self,
        *,
        database: Database,
        redis: Redis,
        clock: Clock,
        counts: Callable[[], Mapping[str, float]],
        lag: LoopLag,
        window_seconds: float,
        instance: UUID,
        place: str,
        takes_webhooks: bool,
        deliveries: Deliveries,
        outages: Outages,
    ) -> None:
        self._database = database
        self._redis = redis
        self._clock = clock
        self._counts = counts
        self._lag = lag
        self._window = Window(window_seconds)
        self._instance = instance
        self._place = place
        self._takes_webhooks = takes_webhooks
        self._deliveries = deliveries
        self._outages = outages
        self._started = clock.monotonic()
        self._skew_seconds = 0.0
        self._redis_fails_since: float | None = None
        self._sized_at = float("-inf")
        self._database_bytes: int | None = None

    async def run(self) -> None:
        """Report until cancelled."""
        while not is_being_cancelled():
            await self.report()
            await self._clock.sleep(REPORT_SECONDS)

    async def stop(self) -> None:
        """End what was begun, and report that this daemon ends in order, if the database can be used."""
        await self._deliveries.stop()
        await self._outages.stop()
        try:
            async with self._database.service_reader() as reader:
                await daemons.stop(reader, self._instance)
        except (ZmartdError, TimeoutError) as error:
            log.info("alerts.end_not_reported", reason=str(error))

    async def report(self) -> Standing | None:
        """Report once; gives what Postgres answered."""
        await self._ask_redis()
        vitals = await self._vitals()
        before, wall = self._clock.monotonic(), self._clock.time()
        try:
            async with self._database.service_reader() as reader:
                standing = await daemons.report(
                    reader,
                    self._instance,
                    self._place,
                    vitals,
                    up_seconds=before - self._started,
                    receivers=self._deliveries.receivers,
                )
            took = self._clock.monotonic() - before
            await self._outages.recovered(self._database, standing.recoveries)
        except (ZmartdError, TimeoutError) as error:
            self._outages.failed(error, error.message if isinstance(error, ZmartdError) else "no answer")
            return None
        except Exception as error:
            # Only its kind is told: the message of another library may quote a URL.
            self._outages.failed(error, type(error).__name__)
            log.exception("alerts.not_reported")
            return None
        await self._show_system()
        self._skew_seconds = skew(wall, took, standing.now.timestamp())
        if standing.has_deliveries:
            self._deliveries.look()
        return standing

    async def _show_system(self) -> None:
        """Read what /metrics says of the whole system. What cannot be read is not shown after a while."""
        now = self._clock.monotonic()
        with_size = now - self._sized_at >= SIZE_SECONDS
        try:
            async with self._database.service_reader() as reader:
                figures = await system_gauges.read(reader, with_size=with_size)
        except (ZmartdError, TimeoutError) as error:
            log.info("alerts.system_unknown", reason=str(error))
            return
        if with_size:
            self._sized_at, self._database_bytes = now, figures.database_bytes
        SYSTEM.show(replace(figures, database_bytes=self._database_bytes))

    async def _ask_redis(self) -> None:
        try:
            async with asyncio.timeout(REDIS_PATIENCE_SECONDS):
                await self._redis.ping()
        except (RedisError, OSError, TimeoutError):
            if self._redis_fails_since is None:
                self._redis_fails_since = self._clock.monotonic()
        else:
            self._redis_fails_since = None

    async def _vitals(self) -> Vitals:
        now = self._clock.monotonic()
        numbers = dict(self._counts())
        numbers["loop_lag"] = self._lag.take_longest()
        self._window.add(now, numbers)
        growth = self._window.growth
        descriptors, descriptor_limit = await asyncio.to_thread(open_descriptors)
        return Vitals(
            requests=growth("requests"),
            request_errors=growth("request_errors"),
            websockets=int(self._window.first("websockets_open")) + growth("websockets_opened"),
            websockets_lost=growth("websockets_lost"),
            database_failures=growth("database_failures"),
            redis_failing_seconds=0.0 if self._redis_fails_since is None else now - self._redis_fails_since,
            clock_skew_seconds=self._skew_seconds,
            loop_lag_seconds=self._window.most("loop_lag"),
            descriptors=descriptors,
            descriptor_limit=descriptor_limit,
            takes_webhooks=self._takes_webhooks,
        )


def skew(asked_at: float, took_seconds: float, answer: float) -> float:
    """How far a clock is ahead of another one that said `answer` between `asked_at` and so much later.

    0 where it may be right.
    """
    if asked_at <= answer <= asked_at + took_seconds:
        return 0.0
    return asked_at - answer if asked_at > answer else asked_at + took_seconds - answer


def open_descriptors() -> tuple[int, int]:
    """How many file descriptors this process has open, and may have; 0 where the system does not say."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limit = 0 if limit == resource.RLIM_INFINITY else limit
    try:
        return len(os.listdir(_DESCRIPTORS)), limit
    except OSError as error:
        # Looking takes one: who has none left has opened all.
        return limit if error.errno == errno.EMFILE else 0, limit

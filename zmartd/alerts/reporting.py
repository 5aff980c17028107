"""Puts together what a daemon does about alerts besides the task that evaluates the rules."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from uuid import uuid4

from redis.asyncio import Redis

from zmartd.alert_settings import AlertSettings
from zmartd.alerts.deliveries import Deliveries
from zmartd.alerts.loop_lag import LoopLag
from zmartd.alerts.outages import Outages
from zmartd.alerts.receivers import Receivers
from zmartd.alerts.vitals import VitalsReporter
from zmartd.clock import Clock
from zmartd.store.postgres.database import Database


@asynccontextmanager
async def reporting(
    settings: AlertSettings,
    *,
    database: Database,
    redis: Redis,
    clock: Clock,
    counts: Callable[[], Mapping[str, float]],
    lag: LoopLag,
    place: str,
    takes_webhooks: bool,
) -> AsyncIterator[VitalsReporter]:
    """Report the vitals of this process, deliver messages, and tell of a database that is away.

    The loops of what this gives have to be running. `counts` is as in VitalsReporter. Raises ConfigError.
    """
    receivers = Receivers(settings, clock)
    rng = random.Random()  # noqa: S311 - it only keeps daemons from trying again together
    reporter = VitalsReporter(
        database=database,
        redis=redis,
        clock=clock,
        counts=counts,
        lag=lag,
        window_seconds=settings.window_seconds,
        instance=uuid4(),
        place=place,
        takes_webhooks=takes_webhooks,
        deliveries=Deliveries(database, receivers, settings.attempt_seconds, rng),
        outages=Outages(settings, receivers, redis, clock, daemon=place, rng=rng),
    )
    try:
        yield reporter
    finally:
        await reporter.stop()
        await receivers.close()


def place_of(port: int) -> str:
    """The place of a daemon that serves this port here: that of the one that it replaces."""
    return f"{socket.gethostname()}:{port}"

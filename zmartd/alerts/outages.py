"""What a daemon does when the database is away, in which alerts and their messages are kept.

It tells the receivers by itself, once for all daemons as far as that can be had: while Redis answers one of
them has the turn, and without Redis they all send with the same webhook-id, by which receivers know it again.
When the database is back the alert is entered there as one that was told, and ends like any other.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from zmartd import endpoint
from zmartd.alert_settings import AlertSettings
from zmartd.alerts.deliveries import PAUSES_SECONDS
from zmartd.alerts.messages import Message, encoded, outage
from zmartd.alerts.receivers import LOG, NotDelivered, Receivers
from zmartd.alerts.rule import Rule
from zmartd.alerts.rules import RULES
from zmartd.clock import Clock
from zmartd.log import get_logger
from zmartd.store import alert_deliveries, alerts
from zmartd.store.alerts import NewAlert
from zmartd.store.postgres.database import Database

TURN_SECONDS: Final = 60
"""Another daemon tells when the one that has the turn has not for so long."""
SAME_SECONDS: Final = 600
"""Outages that begin within so long of each other have the same webhook-id."""
PATIENCE_SECONDS: Final = 1.0
TOLD: Final = b"told"

log = get_logger(__name__)


def rule_of(error: BaseException) -> Rule:
    """Which rule it is that `error`, of a write, is about."""
    for cause in endpoint.causes(error):
        if isinstance(cause, asyncpg.ReadOnlySQLTransactionError):
            return RULES["database_read_only"]
        if isinstance(cause, asyncpg.DiskFullError):
            return RULES["database_full"]
    return RULES["database_failures"]


class Outages:
    """Follows whether this daemon can write to the database, and tells when it cannot for long."""

    def __init__(
        self,
        settings: AlertSettings,
        receivers: Receivers,
        redis: Redis,
        clock: Clock,
        *,
        daemon: str,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._receivers = receivers
        self._redis = redis
        self._clock = clock
        self._daemon = daemon
        self._rng = rng
        self._rule: Rule | None = None
        self._may_be_known = True
        """Whether Redis may say that the receivers know: also of an outage in which a daemon was replaced."""
        self._since = 0.0
        self._reason = ""
        self._told: set[str] = set()
        """The receivers that know."""
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._attempts: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    @property
    def is_long(self) -> bool:
        """Whether it has lasted long enough to be told."""
        return self._rule is not None and self._seconds >= self._settings.database_seconds

    @property
    def _seconds(self) -> float:
        return self._clock.monotonic() - self._since

    def failed(self, error: BaseException, reason: str) -> None:
        """Note that a write has failed, and tell the receivers that do not know yet if that has lasted.

        `reason` has no secret in it. It waits for nothing.
        """
        self._may_be_known = True
        if self._rule is None:
            self._since = self._clock.monotonic()
        self._rule, self._reason = rule_of(error), reason
        if not self.is_long:
            return
        for name in self._receivers.names:
            running = self._telling.get(name)
            is_due = self._clock.monotonic() >= self._not_before.get(name, float("-inf"))
            if name not in self._told and is_due and (running is None or running.done()):
                self._telling[name] = asyncio.create_task(
                    self._tell(name, self._rule), name=f"outage to {name}"
                )

    async def settle(self) -> None:
        """Wait until the attempts that were begun have ended."""
        await asyncio.gather(*self._telling.values(), return_exceptions=True)

    async def stop(self) -> None:
        for task in self._telling.values():
            task.cancel()
        await self.settle()

    async def recovered(self, database: Database) -> None:
        """Note that a write has succeeded. An outage that has lasted is entered as an alert, of which those
        know who were told. Raises DatabaseUnavailable, DatabaseTimeout.
        """
        if self._rule is not None and self.is_long:
            await self._enter(database, self._rule)
        if self._may_be_known:
            await self._forget(*(_key(name) for name in self._receivers.names))
            self._may_be_known = False
        self._rule = None
        self._told.clear()
        self._attempts.clear()
        self._not_before.clear()

    async def _enter(self, database: Database, rule: Rule) -> None:
        """Enter the alert, unless another daemon has."""
        seconds = self._seconds
        async with database.service() as connection:
            await alerts.lock(connection)
            now: datetime = await connection.fetchval("select clock_timestamp()")
            found = NewAlert(rule.name, "", rule.severity, self._summary(rule, seconds), seconds)
            added = await alerts.add(connection, [found], now - timedelta(seconds=seconds), opened=True)
            body, message_id = encoded(self._message(rule, now)), self._message_id(rule)
            messages = [
                alert_deliveries.NewDelivery(message_id, one.id, name, body)
                for one in added
                for name in self._receivers.names
            ]
            await alert_deliveries.add(connection, messages, now, delivered=sorted(self._told))
            if self._told - {LOG}:
                await alerts.note_delivery(connection, [one.id for one in added], now)

    async def _tell(self, receiver: str, rule: Rule) -> None:
        key = _key(receiver)
        message_id = self._message_id(rule)
        if receiver != LOG and not await self._has_turn(receiver, key):
            return
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        try:
            await self._receivers.tell(receiver, message_id, encoded(self._message(rule, now)))
        except NotDelivered as error:
            number = self._attempts[receiver] = self._attempts.get(receiver, 0) + 1
            pause = PAUSES_SECONDS[min(number, len(PAUSES_SECONDS)) - 1] * self._rng.uniform(0.8, 1.0)
            pause = max(pause, error.retry_after_seconds)
            self._not_before[receiver] = self._clock.monotonic() + pause
            log.warning(
                "alerts.not_delivered", receiver=receiver, webhook_id=message_id, reason=error.message
            )
            await self._forget(key)
            return
        self._told.add(receiver)
        if receiver != LOG:
            lasts = max(self._settings.remind_seconds, TURN_SECONDS)
            await self._asked(lambda: self._redis.set(key, TOLD, ex=lasts))

    async def _has_turn(self, receiver: str, key: str) -> bool:
        """Whether this daemon is to tell. True also where Redis does not say.

        Where another one has told, this one takes the receiver for told.
        """
        if await self._asked(
            lambda: self._redis.set(key, self._daemon, nx=True, ex=TURN_SECONDS), default=True
        ):
            return True
        if await self._asked(lambda: self._redis.get(key)) == TOLD:
            self._told.add(receiver)
        return False

    async def _forget(self, *keys: str) -> None:
        await self._asked(lambda: self._redis.delete(*keys))

    async def _asked(self, ask: Callable[[], Awaitable[Any]], default: Any = None) -> Any:
        """What Redis answers; `default` where it does not in time."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await ask()
        except (RedisError, OSError, TimeoutError):
            return default

    def _message_id(self, rule: Rule) -> str:
        """The same on every daemon, for outages that begin at nearly the same time."""
        began = int((self._clock.time() - self._seconds) // SAME_SECONDS)
        return f"msg_{uuid5(NAMESPACE_URL, f'zmartd:{rule.name}:{began}').hex}"

    def _message(self, rule: Rule, now: datetime) -> Message:
        seconds = self._seconds
        return outage(rule, self._summary(rule, seconds), seconds, now - timedelta(seconds=seconds), now)

    def _summary(self, rule: Rule, seconds: float) -> str:
        what = "takes no writes" if rule.name != "database_failures" else "cannot be used"
        return f"{self._daemon} says: Postgres {what} for {seconds:.0f} s: {self._reason}"


def _key(receiver: str) -> str:
    """One for all rules: what begins as one outage can become another one, which is not told again."""
    return f"zmartd:alert:database:{receiver}"

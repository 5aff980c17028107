"""What a daemon does when the database is away, in which alerts and their messages are kept.

It tells the receivers by itself and reminds them, once for all daemons as far as that can be had: while Redis
answers one of them has the turn, and without Redis they all send with the same webhook-id, by which receivers
know a message again. Another outage has other ids: how often the database came back is counted in it. When it
is back the alert is entered there as one that was told, and ends like any other.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

import asyncpg
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from zmartd import endpoint
from zmartd.alert_settings import AlertSettings
from zmartd.alerts.deliveries import PAUSES_SECONDS
from zmartd.alerts.messages import Kind, Message, encoded, outage
from zmartd.alerts.receivers import LOG, NotDelivered, Receivers
from zmartd.alerts.rule import Rule
from zmartd.alerts.rules import RULES
from zmartd.clock import Clock
from zmartd.log import get_logger
from zmartd.store import alert_deliveries, alerts, daemons
from zmartd.store.alerts import NewAlert
from zmartd.store.postgres.database import Database

TURN_SECONDS: Final = 60
"""Another daemon tells when the one that has the turn has not for so long."""
SAME_SECONDS: Final = 600
"""What daemons notice within so long of each other is the same outage, if the database did not come back."""
PATIENCE_SECONDS: Final = 1.0
TOLD: Final = "told "
"""In Redis, before the number of messages that a receiver has got."""

log = get_logger(__name__)


def rule_of(error: BaseException) -> Rule:
    """Which rule it is that `error`, of a write, is about."""
    for cause in endpoint.causes(error):
        if isinstance(cause, asyncpg.ReadOnlySQLTransactionError):
            return RULES["database_read_only"]
        if isinstance(cause, asyncpg.DiskFullError):
            return RULES["database_full"]
    return RULES["database_failures"]


class Knowledge(Struct):
    """What a receiver knows of this outage."""

    messages: int = 0
    """Those that it got, from whichever daemon."""
    due_at: float = float("-inf")
    """When it is told next, by the monotonic clock."""
    attempts: int = 0
    """Those of the next message that have failed."""


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
        self._known: dict[str, Knowledge] = {}
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._recoveries: int | None = None
        """What the database said when it could be used last; None where it never could."""

    @property
    def is_long(self) -> bool:
        """Whether it has lasted long enough to be told."""
        return self._rule is not None and self._seconds >= self._settings.database_seconds

    @property
    def _seconds(self) -> float:
        return self._clock.monotonic() - self._since

    def failed(self, error: BaseException, reason: str) -> None:
        """Note that a write has failed, and tell or remind the receivers if that has lasted.

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
            known = self._known.setdefault(name, Knowledge())
            if self._clock.monotonic() >= known.due_at and (running is None or running.done()):
                self._telling[name] = asyncio.create_task(
                    self._tell(name, known, self._rule), name=f"outage to {name}"
                )

    async def settle(self) -> None:
        """Wait until the attempts that were begun have ended."""
        await asyncio.gather(*self._telling.values(), return_exceptions=True)

    async def stop(self) -> None:
        for task in self._telling.values():
            task.cancel()
        await self.settle()

    async def recovered(self, database: Database, recoveries: int) -> None:
        """Note that a write has succeeded, and how often the database has come back by then.

        An outage that has lasted is entered as an alert, of which those know who were told. Raises
        DatabaseUnavailable, DatabaseTimeout.
        """
        if self._rule is not None and self.is_long:
            await self._enter(database, self._rule)
        if self._may_be_known:
            recoveries = await self._count_recovery(database, recoveries)
            await self._forget(*(_key(name) for name in self._receivers.names))
            self._may_be_known = False
        self._recoveries = recoveries
        self._rule = None
        self._known.clear()

    async def _count_recovery(self, database: Database, recoveries: int) -> int:
        """Count it, unless another daemon has. Gives the number since."""
        before = recoveries if self._recoveries is None else self._recoveries
        async with database.service_reader() as connection:
            return await daemons.recovered(connection, before) or recoveries

    async def _enter(self, database: Database, rule: Rule) -> None:
        """Enter the alert, unless another daemon has."""
        seconds = self._seconds
        async with database.service() as connection:
            await alerts.lock(connection)
            await alerts.supersede(connection)
            now: datetime = await connection.fetchval("select clock_timestamp()")
            found = NewAlert(rule.name, "", rule.severity, self._summary(rule, seconds), seconds)
            added = await alerts.add(connection, [found], now - timedelta(seconds=seconds), opened=True)
            body, message_id = encoded(self._message(rule, 0, now)), self._message_id(rule, 0)
            told = sorted(name for name, known in self._known.items() if known.messages)
            messages = [
                alert_deliveries.NewDelivery(message_id, one.id, name, body)
                for one in added
                for name in self._receivers.names
            ]
            await alert_deliveries.add(connection, messages, now, delivered=told)
            if set(told) - {LOG}:
                await alerts.note_delivery(connection, [one.id for one in added], now)

    async def _tell(self, receiver: str, known: Knowledge, rule: Rule) -> None:
        key, number = _key(receiver), known.messages
        message_id = self._message_id(rule, number)
        if receiver != LOG and not await self._has_turn(known, key):
            return
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        try:
            await self._receivers.tell(receiver, message_id, encoded(self._message(rule, number, now)))
        except NotDelivered as error:
            known.attempts += 1
            pause = PAUSES_SECONDS[min(known.attempts, len(PAUSES_SECONDS)) - 1] * self._rng.uniform(0.8, 1.0)
            known.due_at = self._clock.monotonic() + max(pause, error.retry_after_seconds)
            log.warning(
                "alerts.not_delivered", receiver=receiver, webhook_id=message_id, reason=error.message
            )
            await self._forget(key)
            return
        known.messages, known.attempts = number + 1, 0
        known.due_at = self._clock.monotonic() + self._settings.remind_seconds
        if receiver != LOG:
            told = f"{TOLD}{known.messages}"
            await self._asked(lambda: self._redis.set(key, told, ex=self._settings.remind_seconds))

    async def _has_turn(self, known: Knowledge, key: str) -> bool:
        """Whether this daemon is to tell. True also where Redis does not say.

        Where another one has told, this one waits until it is time to remind.
        """
        if await self._asked(
            lambda: self._redis.set(key, self._daemon, nx=True, ex=TURN_SECONDS), default=True
        ):
            return True
        value = bytes(await self._asked(lambda: self._redis.get(key)) or b"").decode()
        if value.startswith(TOLD):
            left_ms = await self._asked(lambda: self._redis.pttl(key), default=0)
            known.messages, known.attempts = int(value.removeprefix(TOLD)), 0
            known.due_at = self._clock.monotonic() + max(left_ms, 0) / 1_000
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

    def _message_id(self, rule: Rule, number: int) -> str:
        """That of an outage's message with this number, the same on every daemon that saw it begin."""
        began = int((self._clock.time() - self._seconds) // SAME_SECONDS)
        name = f"zmartd:{rule.name}:{self._recoveries}:{began}:{number}"
        return f"msg_{uuid5(NAMESPACE_URL, name).hex}"

    def _message(self, rule: Rule, number: int, now: datetime) -> Message:
        seconds = self._seconds
        kind: Kind = "alert.reminder" if number else "alert.opened"
        return outage(kind, rule, self._summary(rule, seconds), seconds, now)

    def _summary(self, rule: Rule, seconds: float) -> str:
        what = "takes no writes" if rule.name != "database_failures" else "cannot be used"
        return f"{self._daemon} says: Postgres {what} for {seconds:.0f} s: {self._reason}"


def _key(receiver: str) -> str:
    """One for all rules: what begins as one outage can become another one, which is not told again."""
    return f"zmartd:alert:database:{receiver}"

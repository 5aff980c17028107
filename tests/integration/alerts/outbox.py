"""Alerts and messages in the outbox, and a daemon's way of delivering them."""

from __future__ import annotations

import base64
import random
from datetime import datetime
from typing import Any

from zmartd.alert_settings import AlertSettings, AlertSlackSettings, AlertWebhookSettings
from zmartd.alerts.deliveries import Deliveries
from zmartd.alerts.evaluation import Told, evaluate
from zmartd.alerts.receivers import Receivers, names
from zmartd.alerts.rule import Facts, Finding, Rule
from zmartd.clock import SystemClock
from zmartd.config_values import ServiceUrl, WebhookSecret
from zmartd.store import alert_facts, alerts
from zmartd.store.alerts import Alert
from zmartd.store.postgres.database import Database

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OLD_SECRET = "whsec_" + base64.b64encode(bytes(range(100, 132))).decode()
SIGNED, CHAT = "/signed/path-secret", "/services/T0/B0/chat-secret"


def settings_for(url: str, *, chat: bool = True, **changed: Any) -> AlertSettings:
    """Settings with both receivers on one server."""
    return AlertSettings(
        webhook=AlertWebhookSettings(url=ServiceUrl(url + SIGNED), secret=WebhookSecret(SECRET)),
        slack=AlertSlackSettings(url=ServiceUrl(url + CHAT) if chat else ServiceUrl()),
        **changed,
    )


class Trouble:
    """A rule whose findings are a test's."""

    def __init__(self, name: str = "trouble") -> None:
        self.findings: list[Finding] | None = [Finding(1, "one is too many")]
        self.rule = Rule(
            name=name,
            severity="critical",
            meaning="Something <happened> & more.",
            remedy="Do something.",
            settings=(),
            find=lambda _facts, _settings: self.findings,
        )

    async def evaluate(self, database: Database, settings: AlertSettings) -> Told:
        return await self.write(database, settings, await read_facts(database))

    async def write(self, database: Database, settings: AlertSettings, facts: Facts) -> Told:
        """Evaluate what was read before."""
        async with database.service() as connection:
            return await evaluate(connection, facts, {self.rule.name: self.rule}, settings, names(settings))


async def read_facts(database: Database) -> Facts:
    async with database.service_reader() as reader:
        index = await alert_facts.read(reader, AlertSettings(), with_size=False)
    return Facts(index=index, chain=None, daemons=())


def deliveries_of(database: Database, settings: AlertSettings) -> Deliveries:
    return Deliveries(
        database, Receivers(settings, SystemClock()), settings.attempt_seconds, random.Random(1)
    )


async def deliver(database: Database, settings: AlertSettings) -> None:
    """What a daemon does when it sees that messages wait."""
    deliveries = deliveries_of(database, settings)
    deliveries.look()
    await deliveries.drain()


async def all_alerts(database: Database) -> list[Alert]:
    async with database.service_reader() as reader:
        return list((await alerts.page(reader, "all", 100)).rows)


async def waiting(database: Database) -> list[tuple[str, int, str | None, datetime]]:
    """The messages that have not arrived: receiver, number of attempts, the last error, the next attempt."""
    async with database.service_reader() as reader:
        rows = await reader.fetch(
            "select receiver, attempts, error, next_attempt_at from alert_deliveries "
            "where delivered_at is null and given_up_at is null order by number"
        )
    return [tuple(row) for row in rows]


async def make_due(database: Database) -> None:
    """As if the pauses had passed."""
    async with database.service() as connection:
        await connection.execute("update alert_deliveries set next_attempt_at = clock_timestamp()")


async def age(database: Database, seconds: float) -> None:
    """As if so much time had passed since everything that was noted about alerts."""
    async with database.service() as connection:
        await connection.execute(
            "update alerts set first_seen = first_seen - d, last_seen = last_seen - d, "
            "opened_at = opened_at - d, quiet_since = quiet_since - d, told_at = told_at - d "
            "from (select make_interval(secs => $1) as d) as passed",
            seconds,
        )

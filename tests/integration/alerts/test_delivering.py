"""Messages about alerts on their way to receivers that work, and to those that do not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.integration.alerts.outbox import (
    CHAT,
    OLD_SECRET,
    SECRET,
    SIGNED,
    Trouble,
    age,
    all_alerts,
    deliver,
    deliveries_of,
    make_due,
    read_facts,
    settings_for,
    waiting,
)
from tests.integration.alerts.receiving import Answer, Received, ReceivingServer, cut, endless, status
from zmartd.alert_settings import AlertSettings, AlertWebhookSettings
from zmartd.alerts.evaluation import Told
from zmartd.alerts.rule import Finding
from zmartd.config_values import ServiceUrl, WebhookSecret
from zmartd.log import configure
from zmartd.store import alert_deliveries
from zmartd.store.postgres.database import Database


def require_signature(received: Received, secret: str = SECRET) -> None:
    """Raises unless a receiver that knows the key accepts it: by the library of the specification, and by its
    words.
    """
    Webhook(secret).verify(received.raw, dict(received.headers))
    signed = f"{received.id}.{received.headers['webhook-timestamp']}.".encode() + received.raw
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert f"v1,{expected}" in received.headers["webhook-signature"].split()


async def test_an_alert_reaches_every_receiver_once_in_its_own_form(
    database: Database, server: ReceivingServer
) -> None:
    settings, trouble = settings_for(server.url), Trouble()
    await trouble.evaluate(database, settings)
    assert [one.last_delivered_at for one in await all_alerts(database)] == [None]
    for _ in range(3):
        await deliver(database, settings)

    (signed,) = server.at(SIGNED)
    require_signature(signed)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(signed.raw + b" ", dict(signed.headers))
    (alert,) = await all_alerts(database)
    assert signed.headers["content-type"] == "application/json"
    assert signed.body["type"] == "alert.opened"
    facts = signed.body["data"]
    assert (facts["number"], facts["rule"], facts["severity"], facts["summary"], facts["count"]) == (
        alert.id,
        "trouble",
        "critical",
        "one is too many",
        1,
    )
    (chat,) = server.at(CHAT)
    assert chat.body == {
        "text": "*ALERT* [critical] trouble\none is too many\n"
        "Something &lt;happened&gt; &amp; more. Do something.\n"
        f"`zmartd alerts ack {alert.id} --because TEXT` ends reminders."
    }
    assert await waiting(database) == []
    assert alert.last_delivered_at is not None


async def test_a_key_before_a_rotation_still_verifies(database: Database, server: ReceivingServer) -> None:
    settings = msgspec.structs.replace(
        settings_for(server.url),
        webhook=AlertWebhookSettings(
            url=ServiceUrl(server.url + SIGNED),
            secret=WebhookSecret(SECRET),
            secret_previous=WebhookSecret(OLD_SECRET),
        ),
    )
    await Trouble().evaluate(database, settings)
    await deliver(database, settings)
    (signed,) = server.at(SIGNED)
    require_signature(signed, SECRET)
    require_signature(signed, OLD_SECRET)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(500), "HTTP 500"),
        (status(404), "HTTP 404"),
        (
            status(302, Location="/elsewhere"),
            "HTTP 302, which leads elsewhere: give the URL that it leads to",
        ),
        (cut, None),
    ],
    ids=["500", "404", "redirect", "cut"],
)
async def test_what_does_not_arrive_is_sent_again_with_the_same_id(
    database: Database, server: ReceivingServer, answer: Answer, reason: str | None
) -> None:
    settings = settings_for(server.url)
    server.instead(SIGNED, answer, answer)
    await Trouble().evaluate(database, settings)
    await deliver(database, settings)

    ((receiver, attempts, error, again_at),) = await waiting(database)
    assert (receiver, attempts) == ("webhook", 1)
    assert error == reason if reason is not None else error
    assert 0 < (again_at - datetime.now(UTC)).total_seconds() <= 5
    await deliver(database, settings)
    assert len(server.at(SIGNED)) == 1
    assert server.at("/elsewhere") == []

    await make_due(database)
    await deliver(database, settings)
    assert [attempts for _, attempts, _, _ in await waiting(database)] == [2]
    await make_due(database)
    await deliver(database, settings)
    assert await waiting(database) == []
    assert len({one.id for one in server.at(SIGNED)}) == 1
    assert len({one.raw for one in server.at(SIGNED)}) == 1
    for one in server.at(SIGNED):
        require_signature(one)
    assert len(server.at(CHAT)) == 1


async def test_a_receiver_that_asks_for_time_gets_it(database: Database, server: ReceivingServer) -> None:
    settings = settings_for(server.url)
    server.instead(SIGNED, status(429, Retry_After="1200"))
    server.instead(CHAT, status(429, Retry_After="999999999999"))
    await Trouble().evaluate(database, settings)
    await deliver(database, settings)
    pauses = {
        receiver: (again_at - datetime.now(UTC)).total_seconds()
        for receiver, _, _, again_at in await waiting(database)
    }
    assert 1_100 < pauses["webhook"] <= 1_200
    assert 3_500 < pauses["slack"] <= 3_600  # a mistake must not last


async def test_a_silent_receiver_keeps_neither_another_one_nor_the_rules_waiting(
    database: Database, server: ReceivingServer
) -> None:
    settings, trouble = settings_for(server.url, attempt_seconds=60), Trouble()
    server.always(SIGNED, server.hang)
    await trouble.evaluate(database, settings)
    deliveries = deliveries_of(database, settings)
    deliveries.look()
    await server.until(SIGNED, 1)
    await server.until(CHAT, 1)
    trouble.findings = [*(trouble.findings or ()), Finding(2, "two", "second")]
    await trouble.evaluate(database, settings)
    async with asyncio.timeout(60):
        while len(server.at(CHAT)) < 2:
            deliveries.look()
            await asyncio.sleep(0.05)
    assert len(server.at(SIGNED)) == 1
    await deliveries.stop()


async def test_an_attempt_ends_in_time(database: Database, server: ReceivingServer) -> None:
    settings = settings_for(server.url, attempt_seconds=0.3)
    server.always(SIGNED, server.hang)
    await Trouble().evaluate(database, settings)
    await deliver(database, settings)
    ((receiver, _, error, _),) = await waiting(database)
    assert (receiver, error) == ("webhook", "no answer within 0.3 s")


async def test_of_an_answer_without_end_nothing_is_read(database: Database, server: ReceivingServer) -> None:
    settings = settings_for(server.url)
    server.always(SIGNED, endless)
    await Trouble().evaluate(database, settings)
    await deliver(database, settings)
    assert await waiting(database) == []


async def test_a_message_that_cannot_be_sent_keeps_no_other_waiting(
    database: Database, server: ReceivingServer
) -> None:
    settings = settings_for(server.url)
    await Trouble("first").evaluate(database, settings)
    async with database.service() as connection:
        await connection.execute("update alert_deliveries set body = '{}'")
    await Trouble("second").evaluate(database, settings)
    await deliver(database, settings)
    (told,) = server.at(CHAT)
    assert "second" in told.body["text"]
    assert {(receiver, attempts, error) for receiver, attempts, error, _ in await waiting(database)} == {
        (receiver, 1, "it cannot be sent: ValidationError") for receiver in ("log", "slack")
    }


async def test_messages_about_one_alert_come_in_their_order(
    database: Database, server: ReceivingServer
) -> None:
    settings, trouble = settings_for(server.url, chat=False, resolve_after_seconds=0), Trouble()
    server.instead(SIGNED, status(503))
    await trouble.evaluate(database, settings)
    await deliver(database, settings)
    trouble.findings = []
    await trouble.evaluate(database, settings)
    await deliver(database, settings)
    assert len(server.at(SIGNED)) == 1  # what comes first has not arrived
    await make_due(database)
    await deliver(database, settings)
    assert [one.body["type"] for one in server.at(SIGNED)] == [
        "alert.opened",
        "alert.opened",
        "alert.resolved",
    ]


async def test_what_lasts_is_told_reminded_of_and_resolved(
    database: Database, server: ReceivingServer
) -> None:
    settings, trouble = settings_for(server.url, chat=False), Trouble()
    for passed in (0, 15, 14_400, 15):
        await age(database, passed)
        await trouble.evaluate(database, settings)
    trouble.findings = []
    for passed in (15, 200, 100, 15):
        await age(database, passed)
        await trouble.evaluate(database, settings)
    await deliver(database, settings)
    assert [one.body["type"] for one in server.at(SIGNED)] == [
        "alert.opened",
        "alert.reminder",
        "alert.resolved",
    ]
    (alert,) = await all_alerts(database)
    assert alert.count == 4
    assert alert.resolved_at is not None


async def test_a_cause_that_comes_and_goes_is_one_alert(database: Database, server: ReceivingServer) -> None:
    settings, trouble = settings_for(server.url, chat=False), Trouble()
    for number in range(20):
        trouble.findings = [Finding(1, "one")] if number % 2 == 0 else []
        await age(database, 200)
        await trouble.evaluate(database, settings)
    await deliver(database, settings)
    assert [one.body["type"] for one in server.at(SIGNED)] == ["alert.opened"]


async def test_a_daemon_that_was_frozen_writes_nothing_after_a_newer_evaluation(database: Database) -> None:
    settings = AlertSettings(resolve_after_seconds=0)
    trouble, well = Trouble(), Trouble()
    well.findings = []
    frozen = await read_facts(database)
    await well.evaluate(database, settings)
    assert await trouble.write(database, settings, frozen) == Told()
    assert await all_alerts(database) == []

    frozen = await read_facts(database)
    await trouble.evaluate(database, settings)
    assert await well.write(database, settings, frozen) == Told()
    (alert,) = await all_alerts(database)
    assert (alert.quiet_since, alert.resolved_at) == (None, None)
    assert len((await well.evaluate(database, settings)).resolved) == 1


async def test_what_never_arrives_is_given_up_after_a_day(
    database: Database, server: ReceivingServer
) -> None:
    settings = settings_for(server.url)
    server.always(SIGNED, status(500))
    await Trouble().evaluate(database, settings)
    await deliver(database, settings)
    async with database.service_reader() as reader:
        assert await alert_deliveries.give_up(reader) == []
    async with database.service() as connection:
        await connection.execute("update alert_deliveries set created_at = created_at - interval '25 hours'")
    async with database.service_reader() as reader:
        (given_up,) = await alert_deliveries.give_up(reader)
        assert (given_up.receiver, given_up.attempts, given_up.error) == ("webhook", 1, "HTTP 500")
        assert await alert_deliveries.waiting(reader, "webhook") == 0


@pytest.fixture
def logged() -> Callable[[], list[dict[str, object]]]:
    stream = io.StringIO()
    configure("debug", "json", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_the_log_gets_alerts_and_no_secret(
    database: Database, server: ReceivingServer, logged: Callable[[], list[dict[str, object]]]
) -> None:
    settings, trouble = settings_for(server.url, resolve_after_seconds=0), Trouble()
    server.instead(SIGNED, status(500), cut, status(302, Location=server.url + SIGNED))
    server.instead(CHAT, cut, status(403))
    await trouble.evaluate(database, settings)
    for _ in range(5):
        await deliver(database, settings)
        await make_due(database)
    trouble.findings = []
    await trouble.evaluate(database, settings)
    await deliver(database, settings)

    lines = logged()
    (opened,) = [line for line in lines if line["action"] == "alert.opened"]
    assert (opened["level"], opened["rule"], opened["summary"]) == ("error", "trouble", "one is too many")
    assert [line["level"] for line in lines if line["action"] == "alert.resolved"] == ["info"]
    assert any(line["action"] == "alerts.not_delivered" for line in lines)
    text = json.dumps(lines)
    async with database.service_reader() as reader:
        text += str(await reader.fetch("select * from alerts")) + str(
            await reader.fetch("select * from alert_deliveries")
        )
    for secret in (SECRET, SECRET.removeprefix("whsec_"), "path-secret", "chat-secret"):
        assert secret not in text

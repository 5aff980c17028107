"""`zmartd alerts` on a database with alerts, with receivers that work and with some that do not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from standardwebhooks import Webhook

from tests.event_loop import run
from tests.integration.alerts.outbox import CHAT, SECRET, SIGNED, Trouble, all_alerts
from tests.integration.alerts.receiving import ReceivingServer, status
from tests.integration.alerts.serving_thread import serving
from tests.patience import patient_database
from tests.shared_secrets import shared_secret
from zmartd.alert_settings import AlertSettings
from zmartd.alerts.rule import Finding
from zmartd.cli import main
from zmartd.store.postgres.database import Database


@pytest.fixture
def server() -> Iterator[ReceivingServer]:
    """A server in a thread, because commands have a loop of their own."""
    with serving() as server:
        yield server


@pytest.fixture
def environment(database_url: str, server: ReceivingServer) -> dict[str, str]:
    return {
        "ZMARTD_DATABASE_URL": database_url,
        "ZMARTD_ALERTS_WEBHOOK_URL": server.url + SIGNED,
        "ZMARTD_ALERTS_WEBHOOK_SECRET": SECRET,
        "ZMARTD_ALERTS_SLACK_URL": server.url + CHAT,
        "ZMARTD_ALERTS_ATTEMPT_SECONDS": "5",
        "ZMARTD_SOLANA_TIMEOUT_SECONDS": "1",
    }


@pytest.fixture
def alerts(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Result]:
    """Runs `zmartd alerts` with arguments."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner(env=environment)
    return lambda *arguments: runner.invoke(main, ["alerts", *arguments])


def trouble(database_url: str, *summaries: str) -> list[int]:
    """The numbers of an alert for each summary."""

    async def open_them() -> list[int]:
        database = await Database.connect(patient_database(database_url))
        rule = Trouble()
        rule.findings = [Finding(1, summary, f"s{number}") for number, summary in enumerate(summaries)]
        await rule.evaluate(database, AlertSettings())
        found = [one.id for one in await all_alerts(database)]
        await database.close()
        return found

    return run(open_them())


def test_alerts_are_listed_and_acknowledged(alerts: Callable[..., Result], database_url: str) -> None:
    assert alerts().stdout == "nothing is wrong\n"
    newest, _ = trouble(database_url, "the first thing", "a \x1b[31mred\x1b[0m thing")

    listed = alerts()
    assert listed.exit_code == 0
    header, first, second = listed.stdout.splitlines()
    assert header.split() == ["ID", "SEVERITY", "RULE", "SINCE", "STATE", "COUNT", "TOLD", "SUMMARY"]
    assert first.split()[:4] == [str(newest), "critical", "trouble", "s1"]
    assert "\x1b" not in listed.stdout
    assert second.endswith("nobody  the first thing")

    done = alerts("ack", str(newest), "--because", "the disk is ordered")
    assert done.exit_code == 0, done.output
    assert "the disk is ordered" in done.stdout
    (shown, _) = json.loads(alerts("--json").stdout)
    assert (shown["id"], shown["acknowledged_because"]) == (newest, "the disk is ordered")
    assert shown["acknowledged_by"]
    assert len(json.loads(alerts("list", "--open", "--json").stdout)) == 2


def test_what_cannot_be_acknowledged_is_said(alerts: Callable[..., Result]) -> None:
    unknown = alerts("ack", "7", "--because", "x")
    assert unknown.exit_code == 1
    assert "There is no alert with this number" in unknown.stderr
    assert alerts("ack", "7").exit_code == 2
    assert "1 to 500 characters" in alerts("ack", "7", "--because", " ").stderr


def test_a_test_message_reaches_each_receiver_and_says_what_it_answered(
    alerts: Callable[..., Result], server: ReceivingServer
) -> None:
    result = alerts("test")
    assert result.exit_code == 0, result.output
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["log", "ok", "written"],
        ["webhook", "ok", "HTTP", "204"],
        ["slack", "ok", "HTTP", "204"],
    ]
    (signed,) = server.at(SIGNED)
    Webhook(SECRET).verify(signed.raw, dict(signed.headers))
    assert signed.body["type"] == "alert.test"
    assert server.at(CHAT)[0].body["text"].startswith("*TEST* [warning] test\n")


def test_a_receiver_that_refuses_or_is_not_there_is_named_without_its_secret(
    alerts: Callable[..., Result],
    server: ReceivingServer,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.always(SIGNED, status(403))
    environment["ZMARTD_ALERTS_SLACK_URL"] = "http://127.0.0.1:1/chat-secret"
    result = alerts("test", "--json")
    assert result.exit_code == 1
    receipts: dict[str, Any] = {one["receiver"]: one for one in json.loads(result.stdout)}
    assert (receipts["log"]["ok"], receipts["webhook"]["ok"], receipts["slack"]["ok"]) == (True, False, False)
    assert receipts["webhook"]["answer"] == "HTTP 403"
    for secret in ("path-secret", "chat-secret", SECRET):
        assert secret not in result.output


def check(environment: dict[str, str]) -> dict[tuple[str, str], str]:
    result = CliRunner(env=environment).invoke(main, ["check", "--json"])
    for secret in ("path-secret", "chat-secret", SECRET.removeprefix("whsec_")):
        assert secret not in result.output
    found: dict[tuple[str, str], str] = {}
    for one in json.loads(result.stdout):
        key = one["check"], one["verdict"]
        found[key] = f"{found.get(key, '')}{one['detail']} -> {one['remedy']}\n"
    return found


def test_check_connects_to_receivers_and_sends_them_nothing(
    environment: dict[str, str], server: ReceivingServer
) -> None:
    environment["ZMARTD_SOLANA_RPC_URL"] = "http://127.0.0.1:1"
    found = check(environment)
    for receiver in ("webhook", "slack"):
        reached = rf"{receiver}: \S+ can be reached; `zmartd alerts test` sends it a message"
        assert re.search(reached, found["receivers of alerts", "ok"])
    assert server.received == []

    environment["ZMARTD_ALERTS_SLACK_URL"] = "http://127.0.0.1:1/chat-secret"
    detail = check(environment)["receivers of alerts", "failed"]
    assert detail.startswith("slack: 127.0.0.1:1 cannot be reached (Connection refused) -> check its URL")


def test_check_names_a_secret_that_is_missing_or_malformed(environment: dict[str, str]) -> None:
    environment["ZMARTD_HELIUS_AUTHORIZATION"] = shared_secret("authorization")
    environment["ZMARTD_ALERTS_WEBHOOK_SECRET"] = ""
    missing = check(environment)["configuration", "failed"]
    assert "alerts.webhook.secret: without it nobody can verify" in missing
    environment["ZMARTD_ALERTS_WEBHOOK_SECRET"] = "whsec_c2hvcnQ="
    detail = check(environment)["configuration", "failed"]
    assert "$ZMARTD_ALERTS_WEBHOOK_SECRET: the value given does not fit: write whsec_" in detail
    assert "c2hvcnQ" not in detail

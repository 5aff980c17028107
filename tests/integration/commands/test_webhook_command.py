"""`zmartd webhook` against a server of the shape of Helius' API."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.helius_server import KEY, Helius, helius_server
from tests.shared_secrets import shared_secret
from zmartd.chain import helius as client
from zmartd.cli import main
from zmartd.config import SolanaSettings

URL = "https://api.example/helius/webhook"
PROGRAM = SolanaSettings().program_id
AUTHORIZATION = shared_secret("authorization")
Run = Callable[..., Result]


@pytest.fixture
def helius() -> Iterator[Helius]:
    with helius_server() as account:
        yield account


@pytest.fixture
def environment(helius: Helius) -> dict[str, str | None]:
    ours: dict[str, str | None] = {name: None for name in os.environ if name.startswith("ZMARTD_")}
    return ours | {
        "ZMARTD_HELIUS_API_URL": helius.url,
        "ZMARTD_HELIUS_API_KEY": KEY,
        "ZMARTD_HELIUS_WEBHOOK_URL": URL,
        "ZMARTD_HELIUS_AUTHORIZATION": AUTHORIZATION,
    }


@pytest.fixture
def webhook(environment: dict[str, str | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs `zmartd webhook`. Whatever happens, no secret is printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(client, "FIRST_WAIT_SECONDS", 0.01)

    def run(*arguments: str, **changed: str | None) -> Result:
        result = CliRunner(env=environment | changed).invoke(main, ["webhook", *arguments])
        assert KEY not in result.output
        assert AUTHORIZATION not in result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return run


def test_registering_creates_what_the_daemon_needs_and_twice_changes_nothing(
    webhook: Run, helius: Helius
) -> None:
    first = webhook("register", "--json")
    assert first.exit_code == 0, first.output
    [(webhook_id, there)] = helius.webhooks.items()
    assert json.loads(first.stdout)["change"] == "created"
    assert there == {
        "webhookID": webhook_id,
        "wallet": "w",
        "active": True,
        "webhookURL": URL,
        "webhookType": "rawDevnet",
        "transactionTypes": ["ANY"],
        "accountAddresses": [PROGRAM],
        "authHeader": AUTHORIZATION,
    }
    again = webhook("register")
    assert again.stdout == f"unchanged: {webhook_id}, rawDevnet, to {URL}\n"
    assert helius.changes() == ["POST"]
    assert json.loads(webhook("register", "--again", "--json").stdout)["change"] == "changed"
    assert (helius.changes(), len(helius.webhooks)) == (["POST", "PUT"], 1)


def test_mainnet_has_another_type_and_other_clusters_none(webhook: Run, helius: Helius) -> None:
    assert webhook("register", ZMARTD_SOLANA_CLUSTER="mainnet").exit_code == 0
    assert [one["webhookType"] for one in helius.webhooks.values()] == ["raw"]
    refused = webhook("register", ZMARTD_SOLANA_CLUSTER="localnet")
    assert refused.exit_code == 1
    assert "Helius has webhooks for mainnet and devnet" in refused.stderr


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"webhookType": "enhancedDevnet"}, "its type is enhancedDevnet, not rawDevnet"),
        ({"accountAddresses": ["Other"]}, f"it does not watch {PROGRAM}"),
        ({"authHeader": "another"}, "it sends another Authorization than helius.authorization"),
        ({"active": False}, "Helius has turned it off"),
    ],
)
def test_one_that_is_not_as_it_has_to_be_is_named_and_corrected(
    webhook: Run, helius: Helius, wrong: dict[str, Any], said: str
) -> None:
    right = {
        "webhookURL": URL,
        "webhookType": "rawDevnet",
        "transactionTypes": ["ANY"],
        "accountAddresses": ["Other", PROGRAM],
        "authHeader": AUTHORIZATION,
    }
    there = helius.add({**right, **wrong})
    helius.add({**right, "webhookURL": "https://another.example/"})
    listed = json.loads(webhook("list", "--json").stdout)
    assert [one["lacks"] for one in listed] == [[said], []]
    assert said in webhook("list").stdout
    assert webhook("register").stdout.startswith("changed: ")
    assert sorted(there["accountAddresses"]) == sorted(
        {*(wrong.get("accountAddresses") or ()), "Other", PROGRAM}
    )
    assert [one["lacks"] for one in json.loads(webhook("list", "--json").stdout)] == [[], []]
    assert helius.changes() == ["PUT"]


def test_an_account_that_does_not_show_its_authorization_is_taken_at_its_word(
    webhook: Run, helius: Helius
) -> None:
    helius.shows_authorization = False
    webhook("register")
    assert webhook("register").stdout.startswith("unchanged: ")


@pytest.mark.parametrize("does_first", [False, True])
@pytest.mark.parametrize("status", [0, 429, 500, 503])
def test_a_request_that_fails_for_a_moment_is_repeated_and_creates_one_webhook(
    webhook: Run, helius: Helius, status: int, does_first: bool
) -> None:
    headers = {"Retry-After": "0"} if status == 429 else {}
    helius.does_first = does_first
    helius.failures = [(status, headers), (status, headers)]
    assert webhook("list").exit_code == 0
    helius.failures = [(status, headers)]
    assert webhook("register").exit_code == 0
    # The list was asked for before: fail the creation itself.
    helius.webhooks.clear()
    real = helius.answer

    def fail_creations(method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        answered = real(method, path, body)
        if method == "GET" and not helius.webhooks:
            helius.failures.append((status, headers))
        return answered

    helius.answer = fail_creations  # type: ignore[method-assign]
    attempts = len(helius.asked)
    result = webhook("register")
    if does_first:
        assert result.exit_code == 0
        assert len(helius.webhooks) == 1
    else:
        assert result.exit_code == 1
        assert "it did not create the webhook" in result.stderr
        assert len(helius.asked) - attempts == 2 * client.ATTEMPTS


@pytest.mark.parametrize("arguments", [["register"], ["list"], ["delete", "1-2"]])
def test_a_key_that_is_refused_is_said_to_be_and_asked_for_once(
    webhook: Run, helius: Helius, arguments: list[str]
) -> None:
    result = webhook(*arguments, ZMARTD_HELIUS_API_KEY="wrong")
    assert result.exit_code == 1
    assert "Helius refuses helius.api_key (HTTP 401)" in result.stderr
    assert len(helius.asked) == 1


def test_an_account_that_is_away_says_so_without_the_key(webhook: Run, helius: Helius) -> None:
    helius.failures = [(503, {})] * 20
    result = webhook("list")
    assert result.exit_code == 1
    assert "cannot be used: HTTP 503" in result.stderr
    result = webhook("list", ZMARTD_HELIUS_API_URL="http://127.0.0.1:1")
    assert "127.0.0.1:1 cannot be used: no answer" in result.stderr


def test_deleting_is_said_to_have_happened_once(webhook: Run, helius: Helius) -> None:
    webhook_id = helius.add({"webhookURL": URL})["webhookID"]
    assert (webhook("delete", webhook_id).exit_code, helius.webhooks) == (0, {})
    again = webhook("delete", webhook_id)
    assert (again.exit_code, again.stdout) == (1, f"there is no webhook {webhook_id}\n")
    assert webhook("delete", "../../v1").exit_code == 2


def test_what_is_not_set_is_named_at_once(webhook: Run, helius: Helius) -> None:
    result = webhook("register", ZMARTD_HELIUS_WEBHOOK_URL=None, ZMARTD_HELIUS_AUTHORIZATION=None)
    assert "helius.webhook_url: set it" in result.stderr
    assert "helius.authorization: set it" in result.stderr
    assert "helius.api_key: set it" in webhook("list", ZMARTD_HELIUS_API_KEY=None).stderr
    assert helius.asked == []


def test_the_doctor_finds_what_registering_mends(
    webhook: Run, helius: Helius, environment: dict[str, str | None]
) -> None:
    def found() -> list[tuple[str, str]]:
        env = environment | {
            "ZMARTD_DATABASE_URL": "postgresql://127.0.0.1:1/x",
            "ZMARTD_REDIS_URL": "redis://127.0.0.1:1/0",
            "ZMARTD_SOLANA_RPC_URL": "http://127.0.0.1:1",
            "ZMARTD_SOLANA_TIMEOUT_SECONDS": "0.2",
        }
        result = CliRunner(env=env).invoke(main, ["check", "--json"])
        assert KEY not in result.output
        return [
            (one["verdict"], one["remedy"]) for one in json.loads(result.stdout) if one["check"] == "webhook"
        ]

    assert found() == [("warning", "run `zmartd webhook register`")]
    webhook("register")
    assert found() == [("ok", "")]
    [there] = helius.webhooks.values()
    there["active"] = False
    twin = helius.add({**there, "active": True} | {"webhookID": "twin"})
    assert found() == [
        ("warning", "run `zmartd webhook register`"),
        ("warning", f"`zmartd webhook delete` those that are too many: {twin['webhookID']}"),
    ]

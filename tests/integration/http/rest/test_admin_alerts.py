"""Alerts over the API: who sees them, page by page, and acknowledges one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace
from solders.keypair import Keypair

from tests.integration.alerts.outbox import Trouble, age
from tests.integration.http.rest.rest_api import Api, Caller, running_api
from tests.integration.http.rest.rest_stage import AUTHORITY, Stage
from zmartd.alert_settings import AlertSettings
from zmartd.alerts.rule import Finding
from zmartd.http.middleware.access_log import api_answers
from zmartd.store.postgres.database import Database

ALERTS = "/api/admin/alerts"
OPERATOR, STRANGER = Keypair.from_seed(bytes([77] * 32)), Keypair.from_seed(bytes([78] * 32))


@pytest.fixture
async def api(database: Database, redis_url: str) -> AsyncIterator[Api]:
    """An API without a chain, whose operator names an admin."""
    async with running_api(database, redis_url, admins=(str(OPERATOR.pubkey()),)) as api:
        yield api


@pytest.fixture
def operator(api: Api) -> Caller:
    return api.as_wallet(OPERATOR)


async def troubled(database: Database, *subjects: str) -> Trouble:
    trouble = Trouble()
    trouble.findings = [Finding(1, f"{subject} is wrong", subject) for subject in subjects]
    await trouble.evaluate(database, AlertSettings())
    return trouble


async def test_an_operators_admin_reads_alerts_page_by_page_though_no_node_answers(
    database: Database, operator: Caller
) -> None:
    trouble = await troubled(database, "one", "two", "three")
    trouble.findings = (trouble.findings or [])[1:]
    await trouble.evaluate(database, AlertSettings(resolve_after_seconds=0))

    first = await operator.get(ALERTS, limit=2)
    assert first.status == 200
    assert (first.body["count"], first.body["total"], first.body["limit"]) == (2, 3, 2)
    second = await operator.get(ALERTS, limit=2, cursor=first.body["next_cursor"])
    assert second.body["next_cursor"] is None
    found = first.body["alerts"] + second.body["alerts"]
    assert [one["subject"] for one in found] == ["three", "two", "one"]
    assert [one["resolved_at"] is None for one in found] == [True, True, False]
    assert found[0]["summary"] == "three is wrong"
    assert found[0]["count"] == 2

    for status, subjects in (("open", ["three", "two"]), ("resolved", ["one"])):
        page = (await operator.get(ALERTS, status=status)).body
        assert [one["subject"] for one in page["alerts"]] == subjects
        assert page["total"] == len(subjects)
    assert (await operator.get(ALERTS, limit=0)).body["total"] == 3


async def test_what_nobody_was_told_of_is_not_shown(database: Database, operator: Caller) -> None:
    trouble = Trouble()
    trouble.rule = replace(trouble.rule, lasts_seconds=60.0)
    await trouble.evaluate(database, AlertSettings())
    assert (await operator.get(ALERTS)).body["total"] == 0
    await age(database, 60)
    await trouble.evaluate(database, AlertSettings())
    assert (await operator.get(ALERTS)).body["total"] == 1


async def test_an_alert_is_acknowledged_once(database: Database, operator: Caller) -> None:
    await troubled(database, "one")
    (alert,) = (await operator.get(ALERTS)).body["alerts"]
    path = f"{ALERTS}/{alert['number']}/acknowledge"
    before = datetime.now(UTC)
    acknowledged = await operator.post(path, {"because": "the disk is ordered"})
    assert acknowledged.status == 200
    assert acknowledged.body["acknowledged_by"] == operator.address
    assert acknowledged.body["acknowledged_because"] == "the disk is ordered"
    at = datetime.fromisoformat(acknowledged.body["acknowledged_at"])
    assert abs((at - before).total_seconds()) < 600
    again = await operator.post(path, {"because": "I was first"})
    assert again.body == acknowledged.body
    assert (await operator.get(ALERTS)).body["alerts"] == [acknowledged.body]


async def test_an_alert_that_is_not_there_cannot_be_acknowledged(operator: Caller) -> None:
    for number in ("1", "999999999999999999"):
        answer = await operator.post(f"{ALERTS}/{number}/acknowledge", {"because": "x"})
        assert (answer.status, answer.body["code"]) == (404, "alert_not_found")


async def test_others_see_and_change_nothing(database: Database, stage: Stage) -> None:
    await troubled(database, "one")
    admin, stranger = stage.api.as_wallet(AUTHORITY), stage.api.as_wallet(STRANGER)
    (alert,) = (await admin.get(ALERTS)).body["alerts"]
    path = f"{ALERTS}/{alert['number']}/acknowledge"
    for answer in (await stranger.get(ALERTS), await stranger.post(path, {"because": "x"})):
        assert (answer.status, answer.body["code"]) == (403, "not_the_admin")
    for answer in (
        await stage.api.anybody.get(ALERTS),
        await stage.api.anybody.post(path, {"because": "x"}),
    ):
        assert answer.status == 401
    assert (await admin.get(ALERTS)).body["alerts"] == [alert]


async def test_an_acknowledged_alert_is_not_reminded_of_and_still_resolved(
    database: Database, operator: Caller
) -> None:
    trouble = await troubled(database, "one")
    (alert,) = (await operator.get(ALERTS)).body["alerts"]
    await age(database, 20_000)
    told = await trouble.evaluate(database, AlertSettings())
    assert len(told.reminded) == 1
    await operator.post(f"{ALERTS}/{alert['number']}/acknowledge", {"because": "x"})
    await age(database, 20_000)
    assert (await trouble.evaluate(database, AlertSettings())).reminded == ()
    trouble.findings = []
    assert len((await trouble.evaluate(database, AlertSettings(resolve_after_seconds=0))).resolved) == 1


async def test_answers_of_the_api_are_counted_and_those_that_are_the_servers_fault(api: Api) -> None:
    answers, errors = api_answers()
    assert (await api.anybody.get("/api/markets")).status == 200
    assert (await api.anybody.get("/api/nothing")).status == 404
    assert (await api.as_wallet(STRANGER).get(ALERTS)).status == 503  # nobody says who the admin is
    assert (await api.anybody.get("/health")).status == 200
    after = api_answers()
    assert (after[0] - answers, after[1] - errors) == (2, 1)

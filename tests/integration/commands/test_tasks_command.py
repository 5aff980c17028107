"""`zmartd tasks` on a ledger that daemons have written."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.event_loop import run
from zmartd import config
from zmartd.cli import main
from zmartd.clock import SystemClock
from zmartd.config_values import PostgresUrl
from zmartd.schedule import Every, Schedule
from zmartd.store.due_moments import DueMoment
from zmartd.store.postgres.database import Database
from zmartd.tasks.base import RunReport, TaskAction
from zmartd.tasks.ledger import Entered, TaskLedger

MARKET = "ab" * 32
MONITOR = Entered("market_monitor", Schedule(timing=Every(300)), enabled=True)


@pytest.fixture
def tasks(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[..., Result]:
    """Runs `zmartd tasks` with arguments."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner(env={"ZMARTD_DATABASE_URL": database_url})
    return lambda *arguments: runner.invoke(main, ["tasks", *arguments])


def on_ledger(database_url: str, work: Callable[[TaskLedger, Database], Awaitable[None]]) -> None:
    async def connected() -> None:
        settings = config.DatabaseSettings(url=PostgresUrl(database_url), pool_size=3)
        database = await Database.connect(settings)
        try:
            await work(TaskLedger(database, "daemon-a", SystemClock()), database)
        finally:
            await database.close()

    run(connected())


async def a_day_without_daemons_and_a_run(ledger: TaskLedger, database: Database) -> None:
    await ledger.enter([MONITOR])
    async with database.service() as connection:
        await connection.execute(
            "update task_schedules set next_due_at = next_due_at - $1::interval", timedelta(days=1)
        )
    step = await ledger.advance(MONITOR)
    assert step is not None
    assert step.held is not None
    now = ledger.time()
    action = TaskAction("m", "finalize_market", ok=True)
    waits = TaskAction(MARKET, "await_decision", ok=False, detail="nobody voted", awaits_admin=True)
    await ledger.finish(step.held, RunReport("market_monitor", now, now, (action, action, waits)))


def test_tasks_are_listed_with_their_last_run_and_the_next(
    tasks: Callable[..., Result], database_url: str
) -> None:
    on_ledger(database_url, a_day_without_daemons_and_a_run)

    result = tasks()

    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["TASK", "SCHEDULE", "LAST", "RESULT", "DAEMON", "NEXT", "DUE"]
    (monitor,) = [line for line in lines if line.startswith("market_monitor")]
    assert "every 300 s" in monitor
    assert " ago  ok " in monitor
    assert "daemon-a" in monitor
    (reconciler,) = [line for line in lines if line.startswith("reconciler")]
    assert reconciler.endswith("no daemon has run with it yet")

    listed = {task["task"]: task for task in json.loads(tasks("--json").stdout)}
    assert listed["market_monitor"]["last"]["outcome"] == "ok"
    assert listed["market_monitor"]["paused"] is None
    assert listed["reconciler"]["schedule"] is None


def test_a_task_is_explained_by_its_next_instants_and_what_became_of_the_last(
    tasks: Callable[..., Result], database_url: str
) -> None:
    on_ledger(database_url, a_day_without_daemons_and_a_run)

    text = tasks("explain", "market_monitor").stdout

    assert text.startswith("market_monitor: every 300 s\n\nnext, in UTC\n")
    assert re.search(r"\((288|289) instants\)", text)  # one more may come meanwhile
    assert "caught up" in text
    assert "no daemon ran it in time; the next run makes up for it" in text
    assert "ran: ok (" in text
    assert f"finalize_market (2), await_decision of {MARKET[:12]}… waits: nobody voted" in text
    found = json.loads(tasks("explain", "market_monitor", "--json").stdout)
    assert len(found["next"]) == 10
    assert [row["status"] for row in found["rows"]] == ["ran", "caught_up"]
    assert found["rows"][0]["report"]["actions"][0]["action"] == "finalize_market"


async def a_market_that_is_due_in_an_hour(ledger: TaskLedger, database: Database) -> None:
    await ledger.enter([MONITOR])
    async with database.service() as connection:
        await connection.execute(
            """
            insert into pulses (number, committed_at, slot, chain_time, raised_at, newest_slot, newest_at)
            values (1, now(), 1, 1800000000, now(), 1, now())
            """
        )
        await connection.execute(
            """
            insert into markets (id, on_chain_address, state, chain_confirmed, creator_wallet,
                                 resolver_wallet, resolution_proposed_at)
            values ($1, $2, 'RESOLVING', true, $2, $2, to_timestamp(1800000000 + 3630 - 259200 - 60))
            """,
            MARKET,
            "7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS",
        )


def test_the_next_market_that_is_due_is_shown_by_the_chains_clock(
    tasks: Callable[..., Result], database_url: str
) -> None:
    on_ledger(database_url, a_market_that_is_due_in_an_hour)

    (line,) = [line for line in tasks().stdout.splitlines() if line.startswith("market_monitor")]
    assert "finalization in 1 h" in line
    text = tasks("explain", "market_monitor").stdout
    assert f"due, by the chain's clock\n  2027-01-15 09:00:30  in 1 h  finalization of {MARKET}" in text
    listed = {one["task"]: one for one in json.loads(tasks("--json").stdout)}
    due = {"at": "2027-01-15T09:00:30Z", "what": "finalization", "market_id": MARKET}
    assert listed["market_monitor"]["due"] == due
    assert listed["vote_aggregator"]["due"] is None
    assert json.loads(tasks("explain", "market_monitor", "--json").stdout)["due"] == [due]


def test_a_run_that_a_market_prompted_says_so(tasks: Callable[..., Result], database_url: str) -> None:
    async def prompt(ledger: TaskLedger, database: Database) -> None:
        await a_day_without_daemons_and_a_run(ledger, database)
        moment = DueMoment(datetime(2027, 1, 15, tzinfo=UTC), MARKET, "market_monitor", "finalization")
        assert await ledger.prompt([moment])
        assert await ledger.advance(MONITOR)

    on_ledger(database_url, prompt)

    (line,) = [
        line for line in tasks("explain", "market_monitor").stdout.splitlines() if "is running" in line
    ]
    assert line.endswith(
        f"due: finalization of market {MARKET} at 2027-01-15T00:00:00.000Z by the chain's clock"
    )


def test_a_task_is_paused_with_a_reason_and_resumed(tasks: Callable[..., Result], database_url: str) -> None:
    on_ledger(database_url, a_day_without_daemons_and_a_run)

    paused = tasks("pause", "market_monitor", "--because", "the node moves", "--for", "2h")
    assert paused.exit_code == 0, paused.output
    assert paused.stdout.startswith("market_monitor is paused until 20")
    assert paused.stdout.endswith(": the node moves\n")
    assert "the node moves" in tasks().stdout
    assert "will be skipped: paused" in tasks("explain", "market_monitor").stdout
    listed = {one["task"]: one for one in json.loads(tasks("--json").stdout)}
    assert listed["market_monitor"]["paused"]["because"] == "the node moves"

    for_ever = tasks("pause", "market_monitor", "--because", "until we know more")
    assert "paused until it is resumed by " in for_ever.stdout

    assert tasks("resume", "market_monitor").stdout == "market_monitor runs again when it is due\n"
    assert tasks("resume", "market_monitor").stdout == "market_monitor is not paused\n"


def test_a_name_that_is_none_is_refused_with_the_nearest(
    tasks: Callable[..., Result], database_url: str
) -> None:
    for arguments in (
        ("explain", "market_moniter"),
        ("pause", "market_moniter", "--because", "x"),
        ("resume", "market_moniter"),
    ):
        result = tasks(*arguments)
        assert result.exit_code == 1
        assert "there is no task 'market_moniter'" in result.stderr
        assert "did you mean market_monitor?" in result.stderr
    early = tasks("pause", "market_monitor", "--because", "x")
    assert "no daemon has run with the task 'market_monitor' yet: start one first" in early.stderr


def test_a_pause_needs_a_reason_that_can_be_read(tasks: Callable[..., Result]) -> None:
    assert tasks("pause", "market_monitor").exit_code == 2
    result = tasks("pause", "market_monitor", "--because", " ")
    assert result.exit_code == 2
    assert "--because has to be a text of 1 to 500 characters" in result.stderr

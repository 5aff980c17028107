from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from click.testing import CliRunner

from zmartd.cli import main
from zmartd.commands.tick import exit_status, reports_for_people, reports_for_programs
from zmartd.tasks.base import RunReport, TaskAction

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MARKET = "ab" * 32
SIGNATURE = "5" * 88


def run(*actions: TaskAction, skipped: str | None = None, failure: str | None = None) -> RunReport:
    return RunReport("sweep", START, START + timedelta(seconds=1.5), actions, skipped, failure, 7)


def test_a_table_shows_every_action_with_short_names_in_columns() -> None:
    table = reports_for_people(
        [
            run(
                TaskAction(MARKET, "approve", ok=True, signature=SIGNATURE, detail="7 of 9 votes"),
                TaskAction("ff" * 32, "finalize", ok=False, detail="BoundedLossExceeded"),
            )
        ]
    )
    assert table.splitlines() == [
        "sweep: 2 actions, 1 failed (1.50 s)",
        "        MARKET         ACTION    TRANSACTION    DETAIL",
        "  ok    abababababab…  approve   555555555555…  7 of 9 votes",
        "  FAIL  ffffffffffff…  finalize  -              BoundedLossExceeded",
    ]


def test_the_help_names_the_tasks() -> None:
    said = " ".join(CliRunner().invoke(main, ["tick", "--help"]).output.split())
    assert said.endswith(
        "Tasks: alerts, auditor, ipfs_snapshot, leaderboard, market_monitor, reconciler, stream_retention, "
        "vote_aggregator"
    )


def test_a_table_says_why_a_run_did_nothing() -> None:
    assert reports_for_people([run(), run(skipped="no key"), run(failure="LockLost")]).splitlines() == [
        "sweep: nothing to do (1.50 s)",
        "sweep: skipped: no key (1.50 s)",
        "sweep: failed: LockLost (1.50 s)",
    ]


def test_json_has_everything_in_full_and_whether_it_is_ok() -> None:
    reports = reports_for_programs([run(TaskAction(MARKET, "approve", ok=True, signature=SIGNATURE))])
    (decoded,) = msgspec.json.decode(msgspec.json.encode(reports))
    assert decoded == {
        "task": "sweep",
        "ok": True,
        "failed": False,
        "started_at": "2026-01-02T03:04:05Z",
        "finished_at": "2026-01-02T03:04:06.500000Z",
        "actions": [
            {
                "market_id": MARKET,
                "action": "approve",
                "ok": True,
                "detail": "",
                "signature": SIGNATURE,
                "awaits_admin": False,
                "routine": False,
                "times": 1,
            }
        ],
        "skipped": None,
        "failure": None,
        "fencing_token": 7,
        "given_back": False,
    }


WAITS = TaskAction(MARKET, "await_decision", ok=False, detail="nobody voted", awaits_admin=True)
FAILS = TaskAction("ff" * 32, "finalize", ok=False, detail="BoundedLossExceeded")


def test_a_market_that_waits_for_somebody_is_no_failure() -> None:
    assert reports_for_people([run(WAITS, FAILS), run(WAITS)]).splitlines() == [
        "sweep: 2 actions, 1 failed, 1 waits for a person (1.50 s)",
        "         MARKET         ACTION          TRANSACTION  DETAIL",
        "  WAITS  abababababab…  await_decision  -            nobody voted",
        "  FAIL   ffffffffffff…  finalize        -            BoundedLossExceeded",
        "sweep: 1 action, 1 waits for a person (1.50 s)",
        "         MARKET         ACTION          TRANSACTION  DETAIL",
        "  WAITS  abababababab…  await_decision  -            nobody voted",
    ]
    assert (run(WAITS).ok, run(WAITS).failed) == (False, False)
    assert run(WAITS, FAILS).failed


def test_the_exit_status_tells_failures_from_waiting() -> None:
    fine = run(TaskAction(MARKET, "approve", ok=True))
    assert exit_status([]) == exit_status([fine, run(skipped="no key")]) == 0
    assert exit_status([fine, run(WAITS)]) == 3
    assert exit_status([run(WAITS), run(FAILS)]) == exit_status([run(failure="LockLost"), run(WAITS)]) == 1


def test_a_failed_or_troubled_run_is_not_ok_and_a_skipped_one_is() -> None:
    assert not run(failure="LockLost").ok
    assert not run(TaskAction(MARKET, "approve", ok=False)).ok
    assert run(skipped="another daemon is at it").ok

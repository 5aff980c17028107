"""The short form of `python -m tests.stress.tasks`, and that its verdict sees what is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.stress.task_daemon import PlannedTask
from tests.stress.tasks import Found, judge_instants, run
from zmartd.store.task_ledger import Entry

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TASK = PlannedTask("sweep", "every 1 s", "last", 0.0)


async def test_no_instant_is_lost_or_run_twice_whatever_happens(tmp_path: Path) -> None:
    found = await run(tmp_path, seed=20261129, steps=6)
    # How long a take-over takes depends on the machine; the command holds it to three seconds.
    assert [one for one in found.problems if not one.startswith("late")] == []
    assert found.taken_over > 0
    assert found.runs > 50


def ran(number: int, instants: int = 1, **changed: object) -> Entry:
    first = NOON + number * SECOND
    last = first + (instants - 1) * SECOND
    row = Entry("sweep", "ran", first, last, instants, None, None, "daemon-1", 1, 1, first, last, "ok", None)
    return replace(row, **changed)


@pytest.mark.parametrize(
    ("rows", "next_due", "twice", "unexplained"),
    [
        ([ran(0), ran(1), ran(2)], 3, 0, 0),
        ([ran(0), ran(2)], 3, 0, 1),
        ([ran(0), ran(1)], 3, 0, 1),
        ([ran(0, 3), ran(2)], 3, 1, 0),
        ([replace(ran(0, 3), instants=2)], 3, 0, 1),
        ([ran(0, status="skipped", outcome=None)], 1, 0, 1),
        ([ran(0, status="skipped", outcome=None, reason="late", explanation="because")], 1, 0, 0),
    ],
)
def test_the_verdict_sees_instants_that_are_left_out_doubled_or_not_explained(
    rows: list[Entry], next_due: int, twice: int, unexplained: int
) -> None:
    found = Found()
    judge_instants(found, TASK, rows, NOON + next_due * SECOND)
    assert (found.twice, found.unexplained) == (twice, unexplained)

"""Compares a ledger with its schedule: every instant is in exactly one row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from zmartd.schedule import Timing
from zmartd.store.postgres.database import Database
from zmartd.store.task_ledger import Entry, entries, states

_MOMENT = timedelta(microseconds=1)
ALL = 1_000_000


async def whole_ledger(database: Database, task: str, timing: Timing, first: datetime) -> list[Entry]:
    """The rows of the task's instants, oldest first, of which each covers what follows on the one before.

    They begin with `first` and end before the next instant that is due.
    """
    async with database.service_reader() as connection:
        rows = [
            row
            for row in reversed(await entries(connection, task, ALL))
            if row.due_at is not None and row.prompted_because is None
        ]
        state = (await states(connection, [task]))[task]
    require_each_once(rows, timing, first, state.next_due_at)
    return rows


def require_each_once(rows: Sequence[Entry], timing: Timing, first: datetime, next_due_at: datetime) -> None:
    """Every instant from `first` to before `next_due_at` is in one of `rows`, which are in order."""
    expected = first
    for row in rows:
        assert row.due_at == expected, f"{expected} is not covered: {row}"
        assert row.last_due_at is not None
        assert row.instants == covered(timing, row.due_at, row.last_due_at), row
        expected = timing.next_after(row.last_due_at)
    assert expected == next_due_at


def covered(timing: Timing, first: datetime, last: datetime) -> int:
    """How many instants there are from the instant `first` to the instant `last`."""
    number, after = 0, first - _MOMENT
    while True:
        step = timing.stretch(after, last)
        if step is None:
            return number
        number, after = number + step.instants, step.last

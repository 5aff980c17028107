"""The runs of periodic tasks. All of these take a service transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec
from asyncpg import Connection
from msgspec import Struct

_RECORD = """
insert into task_runs (task, fencing_token, started_at, finished_at, outcome, report)
values ($1, $2, $3, $4, $5, $6)
"""
_PURGE = "delete from task_runs where finished_at < $1"


class TaskRun(Struct, frozen=True):
    """One run of one task. `report` is the task's own JSON."""

    task: str
    fencing_token: int | None
    started_at: datetime
    finished_at: datetime
    outcome: Literal["ok", "skipped", "failed"]
    report: Any


async def record(connection: Connection, run: TaskRun) -> None:
    """Store a run."""
    await connection.execute(
        _RECORD,
        run.task,
        run.fencing_token,
        run.started_at,
        run.finished_at,
        run.outcome,
        msgspec.json.encode(run.report).decode(),
    )


async def purge(connection: Connection, finished_before: datetime) -> None:
    """Delete runs that ended before that time."""
    await connection.execute(_PURGE, finished_before)

from __future__ import annotations

import json
from datetime import timedelta

from tests.integration.store.rows import NOON
from zmartd.store import task_runs
from zmartd.store.postgres.database import Database
from zmartd.store.task_runs import TaskRun


async def test_task_runs_are_remembered_and_forgotten(database: Database) -> None:
    run = TaskRun("market_monitor", 7, NOON, NOON + timedelta(seconds=1), "ok", {"finalized": ["m"]})
    async with database.service() as connection:
        await task_runs.record(connection, run)
        (kept,) = await connection.fetch("select * from task_runs")
        assert (kept["task"], kept["fencing_token"], kept["outcome"]) == ("market_monitor", 7, "ok")
        assert json.loads(kept["report"]) == run.report
        await task_runs.purge(connection, NOON + timedelta(days=1))
        assert await connection.fetch("select * from task_runs") == []

"""Whoever sends something wrong is told what, and what would be right."""

from __future__ import annotations

from pathlib import Path

from tests.integration.http.contract.wrong_requests import LINES, answers, table
from tests.integration.http.rest.rest_stage import running_stage
from zmartd.store.postgres.database import Database


async def test_every_wrong_request_is_answered_with_what_is_wrong_and_what_would_be_right(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    async with running_stage(database, redis_url, tmp_path) as stage:
        rows = [row async for row in answers(stage)]
    assert len(rows) == len(LINES) >= 62
    unexpected = [(wrong, told) for wrong, told in rows if not told.is_as_expected(wrong)]
    assert not unexpected, table(unexpected)

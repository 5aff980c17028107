"""The short form of `python -m tests.stress.votes`, and the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stress.votes import run, summary


async def test_what_is_shown_of_votes_equals_postgres_after_any_fault(tmp_path: Path) -> None:
    found = await run(tmp_path, seed=20261130, bursts=25)
    assert found.problems == []
    assert found.votes > 25, summary(found)
    assert min(found.forks, found.faults) > 0, summary(found)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
async def test_what_is_shown_of_votes_equals_postgres_after_many_faults(tmp_path: Path, seed: int) -> None:
    found = await run(tmp_path, seed=seed, minutes=2)
    assert found.problems == []

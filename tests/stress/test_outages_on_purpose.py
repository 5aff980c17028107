"""The short form of `python -m tests.stress.outages`: a few outages, each seen by the operator and over."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.patience import SECONDS
from tests.stress.outage_stage import staged
from tests.stress.outages import BURST, catalogue, measure

CHOSEN = (
    "nothing started",
    "Postgres hangs (SIGSTOP)",
    "Postgres password rotated, SIGHUP",
    "Redis only reads",
    "nobody reads the log",
)


@pytest.mark.timeout(3_600)
async def test_what_is_away_is_named_and_the_daemon_goes_on_when_it_is_back(
    tmp_path: Path, tell_reader: Callable[[str], None]
) -> None:
    async with staged(tmp_path / "stage") as stage:
        outages = {outage.name: outage for outage in catalogue(stage)}
        for name in CHOSEN:
            row = await measure(stage, outages[name], SECONDS, SECONDS)
            tell_reader(next(row.lines()))
            assert row.left == {}, name
            assert math.isfinite(row.seen_seconds), name
            # Who asks for what is away is told so, or is not answered in time; nobody gets an error of ours.
            assert set(row.burst) <= {0, 200, 503}, name
            assert sum(row.burst.values()) == BURST
            if name == "nobody reads the log":
                assert row.usage["from Postgres"] == 200

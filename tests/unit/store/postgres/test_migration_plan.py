from __future__ import annotations

from zmartd.store.postgres.migration_plan import PlannedLock, planned
from zmartd.store.postgres.migrations import Migration

STEPS = """
-- zmartd: steps: trades
select zmartd.fill(20);
drop table zmartd.filled;
"""


def test_the_plan_of_a_migration_in_steps_says_how_long_they_take_and_that_nobody_waits() -> None:
    plan = planned(Migration(70, "0070_filled", STEPS, ""), {"trades": 1_000_000, "zmartd.filled": 1})
    assert plan.locks == (
        PlannedLock("trades", "row exclusive", 1_000_000, 100.0),
        PlannedLock("zmartd.filled", "access exclusive", 1, 0.0),
    )

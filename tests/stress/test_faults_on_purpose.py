"""The short form of `python -m tests.stress.indexer --matrix`: many faults at once, and a few alone."""

from __future__ import annotations

import random
from pathlib import Path

import asyncpg
import pytest

from tests.stress.faults import catalogue
from tests.stress.matrix import LEGEND, head, strike, watched
from tests.stress.rig import RECOVERY_SECONDS, Rig, standing
from tests.stress.waiting import until
from zmartd.faults import Point

CHOSEN = (
    "all of these, under load",
    "rollback, under load",
    f"kill -9, {Point.RELAY_LANDED}",
)
ALONE = (f"kill -9, {Point.INBOX_COMMITTED}", f"kill -9, {Point.APPLY_APPENDED}")
"""Without a reconciler."""


def test_every_point_is_killed_at() -> None:
    killed_at = {fault.moment for fault in catalogue() if fault.what == "kill -9"}
    assert killed_at >= {str(point) for point in Point}


@pytest.mark.timeout(7_200)
async def test_what_is_broken_and_mended_equals_the_chain(tmp_path: Path) -> None:
    faults = {fault.name: fault for fault in catalogue()}
    async with standing(tmp_path, random.Random(1)) as rig, watched(rig, random.Random(1)) as audience:
        rows = [await strike(rig, [faults[name]], audience) for name in CHOSEN]
        await rig.reconcile(on=False)
        rows += [await strike(rig, [faults[name]], audience) for name in ALONE]
        print("\n".join(["", LEGEND, "", head(), *(row.line() for row in rows)]))
        assert all(row.ok for row in rows)
        await _assert_the_verdict_sees_what_is_wrong(rig)


async def _assert_the_verdict_sees_what_is_wrong(rig: Rig) -> None:
    """Everything is there, and then nobody puts right what is done to it."""
    await rig.reconcile(on=True)
    whole, _ = await rig.recovered()
    assert whole.clean
    assert await rig.replayed() == ()
    await rig.reconcile(on=False)
    connection = await asyncpg.connect(rig.system.postgres.dsn)
    try:
        await connection.execute("set role service_role")
        await connection.execute(
            "insert into trade_events select * from jsonb_populate_record(null::trade_events, "
            "(select to_jsonb(one) || jsonb_build_object('id', 0, 'event_index', 99) "
            "from trade_events as one limit 1))"
        )
        assert (await rig.verdict()).duplicated == 1
        await connection.execute("delete from trade_events where event_index = 99")
        await connection.execute("update user_positions set shares_yes = shares_yes + 1")
        assert (await rig.verdict()).differences > 0
        assert "user_positions differs from a replay" in await rig.replayed()
        await connection.execute("update user_positions set shares_yes = shares_yes - 1")
        signature = await connection.fetchval(
            "delete from trade_events where ctid = (select ctid from trade_events limit 1) "
            "returning tx_signature"
        )
        rig.system.postbox.acknowledged.add(signature)

        async def only_this_is_broken() -> bool:
            found = await rig.verdict()
            return (found.acknowledged_lost, found.duplicated) == (1, 0)

        # What the daemon's tasks send meanwhile is acknowledged a moment before it is indexed.
        await until(only_this_is_broken, RECOVERY_SECONDS, "the verdict does not see what was removed")
    finally:
        await connection.close()

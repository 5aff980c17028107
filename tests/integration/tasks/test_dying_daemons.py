"""Two daemons as processes, of which one is killed with what is due in its hands."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from tests import patience
from tests.integration.tasks.due_daemons import MONITOR, prompted, require_no_sweep
from tests.integration.tasks.due_process import KILLED, Plan
from tests.integration.tasks.test_due_watch import comes_to
from tests.integration.tasks.world import DISPUTE_PERIOD_SECONDS, World
from zmartd.faults import Point
from zmartd.market.lifecycle import MarketState


@asynccontextmanager
async def daemon(plan: Plan) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process, once it is ready; at the end of the block it is gone."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.tasks.due_process", msgspec.json.encode(plan).decode()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(patience.SECONDS):
            assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("point", [Point.TASK_PROMPTED, Point.AUTHORITY_SIGNED])
async def test_what_a_daemon_had_in_its_hands_when_it_was_killed_is_done_by_another(
    world: World, database_url: str, redis_url: str, point: Point
) -> None:
    """No daemon looks at the ledger of its own accord, so it has to know what it is to follow."""
    names = ("daemon-a", "daemon-b")
    plans = [Plan(name, database_url, redis_url, world.rpc_url, point) for name in names]
    async with daemon(plans[0]) as one, daemon(plans[1]) as other:
        market_id = await world.resolving()
        await world.travel(DISPUTE_PERIOD_SECONDS + 61)
        await comes_to(world, market_id, MarketState.FINALIZED)
        found = await world.redis.get(KILLED)
        assert isinstance(found, bytes)
        dead = found.decode()
        killed, survivor = (one, other) if dead == names[0] else (other, one)
        async with asyncio.timeout(patience.SECONDS):
            assert await killed.wait() == -signal.SIGKILL
        assert survivor.returncode is None

        async def is_over() -> bool:
            return all(row.status == "ran" for row in await prompted(world, MONITOR))

        await world.until(is_over, patience.SECONDS)
    (row,) = await prompted(world, MONITOR)
    assert (row.outcome, row.daemon) == ("ok", names[1 - names.index(dead)])
    assert row.attempt == (1 if point is Point.TASK_PROMPTED else 2)
    assert await world.outbox(market_id) == [("finalize_market", "landed")]
    await require_no_sweep(world)

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta

from tests.integration.store.rows import insert, insert_market, wallet
from tests.integration.tasks.ipfs_services import running_services
from tests.integration.tasks.world import World
from zmartd.market.ids import cid_v0

PIN_FILE = "POST /pinning/pinFileToIPFS"
MARKETS = 6
HELD = "select count(*) from task_runs where lease_until > clock_timestamp()"
"""Two seconds after a process was killed its run is anybody's."""


async def comments(world: World) -> set[str]:
    """Markets with a comment of yesterday each."""
    made = set()
    async with world.database.service() as connection:
        for number in range(MARKETS):
            market_id = await insert_market(connection, f"market {number}")
            await insert(
                connection,
                "discussions",
                market_id=market_id,
                user_wallet=wallet("author"),
                content=f"Text {number}.",
                created_at=datetime.now(UTC) - timedelta(days=1),
            )
            made.add(market_id)
    return made


async def test_a_run_that_was_killed_is_gone_on_with_by_the_next(
    world: World, environment: dict[str, str]
) -> None:
    markets = await comments(world)
    async with running_services() as services:
        settings = {
            "ZMARTD_TASKS_IPFS_SNAPSHOT_PINNING": "pinata",
            "ZMARTD_TASKS_IPFS_SNAPSHOT_SERVICE_URL": services.url,
            "ZMARTD_TASKS_IPFS_SNAPSHOT_SERVICE_TOKEN": "token",
        }

        async def tick() -> asyncio.subprocess.Process:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "zmartd", "tick", "ipfs_snapshot", "--json"),
                env=environment | settings,
                stdout=asyncio.subprocess.PIPE,
            )

        services.always_for("Text 3.", services.hang)
        killed = await tick()
        await services.stuck.wait()
        while len(await pinned(world)) < MARKETS - 1:  # noqa: ASYNC110 - it is another process's work
            await asyncio.sleep(0.05)
        killed.kill()
        await killed.communicate()
        done, uploads = await pinned(world), services.requests[PIN_FILE]

        services.behave()
        while await world.fetch(HELD) != [(0,)]:  # noqa: ASYNC110 - Postgres alone knows
            await asyncio.sleep(0.05)
        again = await tick()
        printed, _ = await again.communicate()
    (report,) = json.loads(printed)
    assert again.returncode == 0
    assert {action["market_id"] for action in report["actions"]} == markets - done
    assert services.requests[PIN_FILE] == uploads + 1, "nothing that is pinned is uploaded again"
    assert await pinned(world) == markets
    assert await world.fetch("select count(*) from ipfs_documents where pinned_at is null") == [(0,)]
    assert all(cid_v0(content) == cid for cid, content in services.files.items())


async def pinned(world: World) -> set[str]:
    rows = await world.fetch("select market_id from ipfs_anchors")
    return {str(market_id) for (market_id,) in rows}

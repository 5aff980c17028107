"""Clients of other languages that go on where they were, whatever the daemon does meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.e2e.typescript import needs_node, node_modules_of
from tests.stress.rig import Rig, standing
from tests.stress.told import Subscription, Told
from tests.stress.waiting import until

HERE = Path(__file__).parent
SECONDS = 600.0
_NEWEST = "select name, seq from streams where name like 'market:%' order by id desc limit 1"


class Follower:
    """A process that prints the frames of a market, which are checked as they come."""

    def __init__(self, market_id: str) -> None:
        self.subscription = Subscription(market_id, Told())
        self.connections = 0

    async def read(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            frame = json.loads(line)
            if frame["type"] == "connected":
                self.connections += 1
                self.subscription.lose()
                self.subscription.ask()
            elif frame.get("market_id") == self.subscription.name:
                self.subscription.check(frame)


@asynccontextmanager
async def following(market_id: str, *command: str) -> AsyncIterator[Follower]:
    """Run the command, and check what it prints. Raises Violation at the end."""
    follower = Follower(market_id)
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    assert process.stdout is not None
    reading = asyncio.create_task(follower.read(process.stdout))
    try:
        yield follower
    finally:
        process.kill()
        await process.wait()
        await reading


async def newest(rig: Rig) -> tuple[str, int]:
    """The newest market, and how far its stream has come; nothing yet if there is none."""
    connection = await asyncpg.connect(rig.system.postgres.dsn)
    try:
        await connection.execute("set role service_role")
        row = await connection.fetchrow(_NEWEST)
    finally:
        await connection.close()
    return ("", 0) if row is None else (row["name"].removeprefix("market:"), row["seq"])


async def some_happened(rig: Rig, more_than: int = 0) -> tuple[str, int]:
    """The newest market once its stream has more than so many messages."""
    found = await newest(rig)

    async def happened() -> bool:
        nonlocal found
        found = await newest(rig)
        return found[1] > more_than

    await until(happened, SECONDS, "nothing happened")
    return found


@needs_node
@pytest.mark.timeout(3_600)
async def test_a_client_of_node_goes_on_after_the_daemon_was_killed(tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(node_modules_of(HERE))
    script = tmp_path / "resume.mjs"
    script.write_text((HERE / "resume.mjs").read_text())
    async with standing(tmp_path / "system", random.Random(5)) as rig:
        rig.go()
        market_id, _ = await some_happened(rig)
        url = rig.system.api.replace("http", "ws") + "/ws"
        async with following(market_id, "node", str(script), url, market_id) as node:
            answers = 0

            async def is_answered() -> bool:
                done = node.subscription.done
                return done["state"] + done["resumed"] == answers

            for end in (rig.system.daemon.kill, rig.system.daemon.stop):
                answers += 1
                await until(is_answered, SECONDS, "the client got no answer")
                await end()
                await asyncio.sleep(1.0)
                await rig.system.daemon.start()
            rig.rest()
            verdict, _ = await rig.recovered()
            assert verdict.clean

            async def has_everything() -> bool:
                return node.subscription.current and node.subscription.seq == await end_of(rig, market_id)

            await until(has_everything, SECONDS, "the client lacks messages")
            assert node.connections >= 3
            assert node.subscription.done["resumed"] >= 2
            assert node.subscription.done["state"] == 1
            assert node.subscription.done["frames"] > 0


async def end_of(rig: Rig, market_id: str) -> int:
    connection = await asyncpg.connect(rig.system.postgres.dsn)
    try:
        await connection.execute("set role service_role")
        seq: int = await connection.fetchval("select seq from streams where name = $1", f"market:{market_id}")
    finally:
        await connection.close()
    return seq

"""Clients of other languages that go on where they were, whatever the daemon does meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

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
    """A client of another language that follows a market. What it gets is checked as it comes."""

    def __init__(self, market_id: str) -> None:
        self.subscription = Subscription(market_id, Told())
        self.connections = 0

    @property
    def answers(self) -> int:
        done = self.subscription.done
        return done["state"] + done["resumed"]

    async def follow(self, *command: str) -> None:
        """Run a program that prints frames, and `{"type":"connected"}` for each connection. It never ends."""
        async for line in _lines(*command):
            frame = json.loads(line)
            if frame["type"] == "connected":
                self.connect()
            else:
                self.take(frame)

    async def follow_events(self, url: str) -> None:
        """Do with curl what EventSource does. It never ends."""
        last_id = b""
        while True:
            header = ("-H", f"Last-Event-ID: {last_id.decode()}") if last_id else ()
            self.connect()
            async for line in _lines("curl", "--silent", "--no-buffer", *header, url):
                field, _, value = line.rstrip(b"\n").partition(b": ")
                if field == b"id":
                    last_id = value
                elif field == b"data":
                    self.take(json.loads(value))
            await asyncio.sleep(0.1)

    def connect(self) -> None:
        self.connections += 1
        self.subscription.lose()
        self.subscription.ask()

    def take(self, frame: dict[str, Any]) -> None:
        if frame.get("market_id") == self.subscription.name:
            self.subscription.check(frame)


async def _lines(*command: str) -> AsyncIterator[bytes]:
    """What a program prints. It is killed when nobody reads on."""
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, limit=2**20)
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            yield line
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


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
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.timeout(3_600)
async def test_clients_go_on_where_they_were_after_the_daemon_was_killed(tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(node_modules_of(HERE))
    script = tmp_path / "resume.mjs"
    script.write_text((HERE / "resume.mjs").read_text())
    async with standing(tmp_path / "system", random.Random(5)) as rig:
        rig.go()
        market_id, _ = await some_happened(rig)
        node, curl = Follower(market_id), Follower(market_id)
        websocket, events = f"{rig.system.api.replace('http', 'ws')}/ws", f"{rig.system.api}/api/stream"
        following = [
            asyncio.create_task(node.follow("node", str(script), websocket, market_id)),
            asyncio.create_task(curl.follow_events(f"{events}?channels=market:{market_id}")),
        ]
        try:
            await _restart_and_compare(rig, market_id, (node, curl), following)
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)


async def _restart_and_compare(
    rig: Rig, market_id: str, clients: Sequence[Follower], following: Sequence[asyncio.Task[None]]
) -> None:
    answers = 0

    def check() -> None:
        """Raises Violation."""
        for task in following:
            if task.done():
                task.result()

    async def are_answered() -> bool:
        check()
        return all(client.answers == answers for client in clients)

    async def have_everything() -> bool:
        check()
        end = await end_of(rig, market_id)
        return all(one.subscription.current and one.subscription.seq == end for one in clients)

    for end in (rig.system.daemon.kill, rig.system.daemon.stop):
        answers += 1
        await until(are_answered, SECONDS, "the clients got no answer")
        await end()
        await asyncio.sleep(1.0)
        await rig.system.daemon.start()
    rig.rest()
    verdict, _ = await rig.recovered()
    assert verdict.clean
    await until(have_everything, SECONDS, "a client lacks messages")
    for client in clients:
        assert client.connections >= 3
        assert client.subscription.done["resumed"] >= 2
        assert client.subscription.done["state"] == 1
        assert client.subscription.done["frames"] > 0


async def end_of(rig: Rig, market_id: str) -> int:
    connection = await asyncpg.connect(rig.system.postgres.dsn)
    try:
        await connection.execute("set role service_role")
        seq: int = await connection.fetchval("select seq from streams where name = $1", f"market:{market_id}")
    finally:
        await connection.close()
    return seq

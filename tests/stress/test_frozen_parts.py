"""A client of the WebSocket learns which part of the whole system is frozen, and that it goes on again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from tests.stress.rig import Rig, standing
from tests.stress.waiting import until
from zmartd.embedded.chain import PROGRAM_ID

TEN_SECONDS = 10.0
RECOVERY_SECONDS = 60.0

Act = Callable[[Rig], Awaitable[None]]


class Listener:
    """A client that is subscribed to all markets, and keeps the beats that come."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._listening = asyncio.create_task(self._listen())
        self._beaten = asyncio.Event()
        self.beats: list[dict[str, Any]] = []

    async def _listen(self) -> None:
        async for message in self._socket:
            frame = message.json()
            if frame["type"] == "beat":
                self.beats.append(frame["data"])
                self._beaten.set()

    async def seconds_until(self, condition: Callable[[dict[str, Any]], bool], limit: float) -> float:
        """How long it takes until a beat comes for which `condition` holds. Raises TimeoutError."""
        began = time.monotonic()
        async with asyncio.timeout(limit):
            while not self.beats or not condition(self.beats[-1]):
                self._beaten.clear()
                await self._beaten.wait()
        return time.monotonic() - began

    async def until_named(self, reason: str, limit: float) -> float:
        """The same for a beat that names this reason."""
        return await self.seconds_until(lambda beat: reason in beat["degraded"], limit)

    async def until_vouched(self) -> float:
        """The same for one that names none."""
        return await self.seconds_until(lambda beat: not beat["degraded"], RECOVERY_SECONDS)

    async def close(self) -> None:
        await self._socket.close()
        await self._listening


@asynccontextmanager
async def listening(rig: Rig) -> AsyncIterator[Listener]:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{rig.system.api}/ws") as socket:
        await socket.send_json({"action": "subscribe", "market_id": "*"})
        listener = Listener(socket)
        await listener.until_vouched()
        yield listener
        await listener.close()


async def _hang_database(rig: Rig) -> None:
    rig.system.database_door.hang()


async def _free_database(rig: Rig) -> None:
    rig.system.database_door.go_on()


async def _stop_postgres(rig: Rig) -> None:
    await rig.system.postgres.stop()


async def _start_postgres(rig: Rig) -> None:
    await rig.system.postgres.start()


async def _hang_redis(rig: Rig) -> None:
    rig.system.redis_door.hang()


async def _free_redis(rig: Rig) -> None:
    rig.system.redis_door.go_on()


async def _stop_redis(rig: Rig) -> None:
    await rig.system.crash_valkey()


async def _start_redis(rig: Rig) -> None:
    await rig.system.start_valkey()


async def _silence_node(rig: Rig) -> None:
    await rig.system.cheat("zmartd_setFaults", {"rpc": {"failRate": 1.0, "status": "timeout"}})


async def _mend_node(rig: Rig) -> None:
    await rig.system.cheat("zmartd_setFaults", {})


PARTS: dict[str, tuple[str, Act, Act]] = {
    "Postgres hangs": ("database", _hang_database, _free_database),
    "Postgres is down": ("database", _stop_postgres, _start_postgres),
    "Redis hangs": ("redis", _hang_redis, _free_redis),
    "Redis is killed": ("redis", _stop_redis, _start_redis),
    "RPC does not answer": ("chain", _silence_node, _mend_node),
}


@pytest.mark.long
@pytest.mark.timeout(3_600)
async def test_a_client_learns_which_part_is_frozen_and_when_it_goes_on(tmp_path: Path) -> None:
    lines = []
    async with standing(tmp_path, random.Random(1)) as rig, listening(rig) as listener:
        for what, (reason, freeze, free) in PARTS.items():
            began = time.monotonic()
            await freeze(rig)
            await listener.until_named(reason, TEN_SECONDS)
            named = time.monotonic() - began
            await free(rig)
            over = await listener.until_vouched()
            lines.append(
                f"{what:22} named {named:4.1f} s later, and {over:4.1f} s after it went on vouched for"
            )
        lines.append(await _while_nothing_can_be_committed(rig, listener))
        lines.append(await _while_the_daemon_is_stopped(rig, listener))
        lines.append(await _while_webhooks_bring_nothing(rig))
    print("\n".join(["", *lines]))


async def _while_nothing_can_be_committed(rig: Rig, listener: Listener) -> str:
    connection = await asyncpg.connect(rig.system.postgres.dsn)
    try:
        async with connection.transaction():
            await connection.execute("lock table streams in exclusive mode")
            named = await listener.until_named("indexer", TEN_SECONDS)
        over = await listener.until_vouched()
    finally:
        await connection.close()
    return f"{'commits wait':22} named {named:4.1f} s later, and {over:4.1f} s after it went on vouched for"


async def _while_the_daemon_is_stopped(rig: Rig, listener: Listener) -> str:
    rig.system.daemon.freeze()
    await asyncio.sleep(0.5)
    listener.beats.clear()
    with pytest.raises(TimeoutError):
        await listener.seconds_until(lambda _: True, TEN_SECONDS)
    rig.system.daemon.thaw()
    over = await listener.until_vouched()
    return f"{'the daemon is stopped':22} no beat for 10 s, and {over:4.1f} s after it went on vouched for"


async def _transactions(rig: Rig) -> int:
    """How many the chain has of the program."""
    return len(await rig.system.cheat("getSignaturesForAddress", PROGRAM_ID))


async def _while_webhooks_bring_nothing(rig: Rig) -> str:
    """Without a reconciler, which would make up for them."""
    await rig.reconcile(on=False)
    async with listening(rig) as listener:
        await rig.system.cheat("zmartd_setFaults", {"webhook": {"drop": 1.0}})
        before = await _transactions(rig)
        rig.crowd.go()

        async def some() -> bool:
            return await _transactions(rig) > before

        await until(some, RECOVERY_SECONDS, "nobody acts")
        named = await listener.until_named("indexer", TEN_SECONDS)
        rig.crowd.rest()
        await rig.system.cheat("zmartd_setFaults", {})
    await rig.reconcile(on=True)
    began = time.monotonic()
    async with listening(rig):
        pass
    return (
        f"{'webhooks bring nothing':22} named {named:4.1f} s later, and "
        f"{time.monotonic() - began:4.1f} s after a reconciler began vouched for"
    )

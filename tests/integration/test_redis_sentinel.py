"""Where sentinels let a replica take over: a real primary, a real replica, and a sentinel of theirs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests import patience
from tests.ports import free_port
from zmartd.clock import SystemClock
from zmartd.config import RedisSettings
from zmartd.config_values import RedisUrl
from zmartd.dependencies import open_redis
from zmartd.embedded.server_process import ServerProcess
from zmartd.embedded.valkey import server_program
from zmartd.realtime.bus import Bus

SERVICE = "zmartd-primary"
DOWN_MILLISECONDS = 2_000


@asynccontextmanager
async def server(directory: Path, name: str, *lines: str) -> AsyncIterator[tuple[ServerProcess, int]]:
    """A Valkey with this configuration on a port of 127.0.0.1, for the length of a block."""
    port = free_port()
    configuration = directory / f"{name}.conf"
    configuration.write_text(
        "\n".join([f"port {port}", "bind 127.0.0.1", f"dir {directory}", 'save ""', *lines])
    )
    process = ServerProcess(name, directory / f"{name}.log")
    command = [str(server_program()), str(configuration), *(["--sentinel"] if name == "sentinel" else [])]
    process.start(command, orphaned=signal.SIGKILL, environment={})

    async def answers() -> bool:
        async with Redis(port=port) as client:
            try:
                return bool(await client.ping())
            except (OSError, RedisError):
                return False

    try:
        await process.until(answers, patience.SECONDS)
        yield process, port
    finally:
        await process.stop(signal.SIGTERM, signal.SIGKILL, timeout_seconds=5.0)


async def until_some(port: int, *command: str | int) -> None:
    """Return when the command's answer is more than nothing."""
    async with Redis(port=port) as client, asyncio.timeout(patience.SECONDS):
        while not await client.execute_command(*command):  # type: ignore[no-untyped-call]  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)


async def set_some_time(redis: Redis, key: str, value: int) -> None:
    """As often as it takes."""
    async with asyncio.timeout(patience.SECONDS):
        while True:
            try:
                await redis.set(key, value)
            except (OSError, RedisError):
                await asyncio.sleep(0.1)
            else:
                return


async def listen(bus: Bus) -> None:
    async for _ in bus.listen():
        pass


async def test_a_client_follows_the_primary_that_the_sentinels_choose(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        primary, port = await stack.enter_async_context(server(tmp_path, "primary"))
        _, replica = await stack.enter_async_context(
            server(tmp_path, "replica", f"replicaof 127.0.0.1 {port}")
        )
        _, sentinel = await stack.enter_async_context(
            server(
                tmp_path,
                "sentinel",
                f"sentinel monitor {SERVICE} 127.0.0.1 {port} 1",
                f"sentinel down-after-milliseconds {SERVICE} {DOWN_MILLISECONDS}",
                f"sentinel failover-timeout {SERVICE} 5000",
            )
        )
        settings = RedisSettings(
            url=RedisUrl("redis://nowhere.invalid/0"),
            sentinels=("127.0.0.1:1", f"127.0.0.1:{sentinel}"),
            sentinel_service=SERVICE,
        )
        redis = await stack.enter_async_context(open_redis(settings))
        listening = asyncio.create_task(listen(Bus(redis, SystemClock())))
        stack.callback(listening.cancel)
        await until_some(port, "PUBSUB", "NUMPAT")
        await set_some_time(redis, "before", 1)
        await until_some(replica, "EXISTS", "before")
        await until_some(sentinel, "SENTINEL", "REPLICAS", SERVICE)
        os.kill(primary.pid, signal.SIGKILL)

        await set_some_time(redis, "after", 2)
        assert await redis.get("before") == b"1"
        async with Redis(port=replica) as taken_over:
            assert await taken_over.get("after") == b"2"
        await until_some(replica, "PUBSUB", "NUMPAT")

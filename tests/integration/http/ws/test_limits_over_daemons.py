"""What one client may do on all daemons together."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.integration.http.ws.websocket_daemon import StartDaemon, eventually
from zmartd.clock import SystemClock
from zmartd.config import RealtimeSettings
from zmartd.embedded.process import child_setup
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.http.errors.websocket import TooManyConnections
from zmartd.http.kit.client_address import SITE_CLIENTS
from zmartd.http.ws.places import LEASE_SECONDS, Places

CLIENT = "203.0.113.9"
_HOLDING = """
import asyncio, sys
from redis.asyncio import Redis
from zmartd.clock import SystemClock
from zmartd.http.ws.places import Places

async def main():
    places = Places(Redis.from_url(sys.argv[1]), SystemClock(), "the one that dies", 2)
    running = asyncio.create_task(places.run())
    for _ in range(2):
        await places.take(sys.argv[2])
    print("holding", flush=True)
    await running

asyncio.run(main())
"""


@asynccontextmanager
async def counting(url: str, name: str, limit: int = 2) -> AsyncIterator[Places]:
    """What counts the connections of one daemon."""
    async with Redis.from_url(url, retry=Retry(NoBackoff(), 0)) as redis:
        places = Places(redis, SystemClock(), name, limit)
        running = asyncio.create_task(places.run())
        yield places
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def has_room(places: Places, client: str = CLIENT) -> bool:
    """Whether a client may have one more connection; it has it then."""
    try:
        await places.take(client)
    except TooManyConnections:
        return False
    return True


async def settled(redis_url: str, *names: str) -> None:
    """Return when Redis knows these daemons."""

    async def known() -> bool:
        async with Redis.from_url(redis_url) as redis:
            return all([await redis.zscore("{ws}:daemons", name) is not None for name in names])

    await eventually(known, 60)


async def test_a_client_has_so_many_connections_to_all_daemons_together(redis_url: str) -> None:
    async with counting(redis_url, "a") as one, counting(redis_url, "b") as other:
        await settled(redis_url, "a", "b")
        assert [await has_room(places) for places in (one, other, one, other)] == [True, True, False, False]
        assert await has_room(one, "203.0.113.10")
        one.give_back(CLIENT)
        await eventually(lambda: has_room(other))
        assert not await has_room(one)


async def test_many_connections_at_once_share_questions_and_none_is_too_many(
    own_valkey: EmbeddedValkey,
) -> None:
    clients = [f"203.0.113.{number}" for number in range(100)]
    async with (
        counting(own_valkey.url, "a") as one,
        counting(own_valkey.url, "b") as other,
        Redis.from_url(own_valkey.url) as redis,
    ):
        await settled(own_valkey.url, "a", "b")
        before = await _scripts(redis)
        admitted = await asyncio.gather(*(has_room(one, client) for client in clients))
        assert await _scripts(redis) - before < 10
        assert all(admitted)
        wanted = [(places, client) for client in clients for places in (one, other) for _ in range(3)]
        admitted = await asyncio.gather(*(has_room(places, client) for places, client in wanted))
        of_client = Counter(client for (_, client), is_in in zip(wanted, admitted, strict=True) if is_in)
        assert of_client == Counter(dict.fromkeys(clients, 1))


async def test_the_place_of_a_connection_that_is_gone_before_the_answer_comes_free(redis_url: str) -> None:
    async with counting(redis_url, "a", 1) as one, counting(redis_url, "b", 1) as other:
        await settled(redis_url, "a", "b")
        gone = asyncio.create_task(one.take(CLIENT))
        await asyncio.sleep(0.0001)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        await eventually(lambda: has_room(other), LEASE_SECONDS - 1)


async def test_an_ipv6_site_has_a_limit_on_all_daemons_together(redis_url: str) -> None:
    async with counting(redis_url, "a", 1) as one, counting(redis_url, "b", 1) as other:
        await settled(redis_url, "a", "b")
        for number in range(SITE_CLIENTS):
            assert await has_room((one, other)[number % 2], f"2001:db8:1:{number:x}::/64")
        assert not await has_room(one, "2001:db8:1:ffff::/64")
        assert await has_room(one, "2001:db8:2:1::/64")


async def test_the_places_of_a_daemon_that_is_killed_come_free_within_its_lease(redis_url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _HOLDING, redis_url, CLIENT),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[4],
        preexec_fn=child_setup(signal.SIGKILL),
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"holding\n"
    async with counting(redis_url, "b") as other:
        await settled(redis_url, "the one that dies", "b")
        assert not await has_room(other)
        process.kill()
        async with asyncio.timeout(60):
            await process.wait()
        began = time.monotonic()
        assert not await has_room(other)
        await eventually(lambda: has_room(other), LEASE_SECONDS + 5)
        assert time.monotonic() - began > 1


async def test_a_daemon_that_ends_in_order_gives_its_places_back_at_once(redis_url: str) -> None:
    async with counting(redis_url, "a") as one, counting(redis_url, "b") as other:
        await settled(redis_url, "a", "b")
        assert [await has_room(one), await has_room(one), await has_room(other)] == [True, True, False]
        await one.leave()
        assert await has_room(other)


@pytest.mark.parametrize("stopped", [False, True], ids=["killed", "stopped"])
async def test_without_redis_each_daemon_counts_its_own_and_all_are_counted_again_with_it(
    own_valkey: EmbeddedValkey, stopped: bool
) -> None:
    url = own_valkey.url
    async with counting(url, "a") as one, counting(url, "b") as other:
        await settled(url, "a", "b")
        assert await has_room(one)
        if stopped:
            os.kill(own_valkey.pid, signal.SIGSTOP)
        else:
            await own_valkey.stop()
        assert [await has_room(places) for places in (one, one, other, other, other)] == [
            *(True, False, True, True, False)
        ]
        if stopped:
            os.kill(own_valkey.pid, signal.SIGCONT)
        else:
            await own_valkey.start()
        other.give_back(CLIENT)

        async def counted() -> bool:
            async with Redis.from_url(url) as redis:
                kept = [await redis.hget(f"{{ws}}:places:{name}", CLIENT) for name in ("a", "b")]
                return kept == [b"2", b"1"]

        await eventually(counted, 60)
        assert not await has_room(other)


async def test_two_daemons_refuse_the_connection_that_is_too_many(start: StartDaemon) -> None:
    settings = RealtimeSettings(max_connections_per_ip=3)
    daemons = [await start(settings), await start(settings)]
    before = _breaches("too_many_connections")
    sockets = [await daemons[number % 2].client.ws_connect("/ws") for number in range(3)]
    for daemon in daemons:
        with pytest.raises(WSServerHandshakeError) as refused:
            await daemon.client.ws_connect("/ws")
        assert refused.value.status == 429
    assert _breaches("too_many_connections") == before + 2
    await sockets[0].close()

    async def accepted() -> bool:
        try:
            await daemons[1].client.ws_connect("/ws")
        except WSServerHandshakeError:
            return False
        return True

    await eventually(accepted, 60)


async def test_messages_are_counted_on_all_connections_to_all_daemons_together(start: StartDaemon) -> None:
    settings = RealtimeSettings(max_messages_per_minute=30)
    daemons = [await start(settings), await start(settings)]
    before = _breaches("too_many_messages")
    async with AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(daemon.client.ws_connect("/ws"))
            for daemon in daemons
            for _ in range(2)
        ]
        answered = 0
        for number in range(31):
            answered += await _is_answered(sockets[number % 4])
        # A daemon may hold a lease of three that the other has no use for.
        assert 24 <= answered <= 31
        for socket in sockets:
            while await _is_answered(socket):
                answered += 1
            assert socket.close_code == 1008
        assert answered <= 34
    assert _breaches("too_many_messages") == before + 4


async def _is_answered(socket: ClientWebSocketResponse) -> bool:
    """Whether a ping is answered, and counted then; otherwise the socket is closed."""
    if socket.closed:
        return False
    await socket.send_str("PING")
    while True:
        message = await socket.receive(timeout=60)
        if message.type is not WSMsgType.TEXT:
            return False
        if message.json()["type"] == "pong":
            # What comes while Redis is asked is answered, too, and Redis may be slow.
            counting = [task for task in asyncio.all_tasks() if task.get_name() == "message limit"]
            await asyncio.gather(*counting)
            return True


async def _scripts(redis: Redis) -> int:
    """How many scripts this server has run."""
    return int((await redis.info("commandstats")).get("cmdstat_eval", {"calls": 0})["calls"])


def _breaches(code: str) -> float:
    return REGISTRY.get_sample_value("zmartd_websocket_breaches_total", {"code": code}) or 0.0

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from redis import Redis as SynchronousRedis
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from structlog.testing import capture_logs

from tests.integration.realtime.listeners import AT, MARKET, Reader, eventually, message, state, trade
from zmartd.clock import SystemClock
from zmartd.config import RedisSettings
from zmartd.config_values import RedisUrl
from zmartd.dependencies import lead_redis_to, open_redis
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.market.lifecycle import VoteKind
from zmartd.realtime.bus import Bus
from zmartd.realtime.messages import (
    DiscussionChange,
    Gap,
    Message,
    PriceUpdate,
    Promotion,
    Retraction,
    VoteCast,
)


async def test_every_kind_of_message_arrives_as_it_was_sent_and_in_order(bus: Bus) -> None:
    reader = Reader(bus)
    await reader.ready()
    sent = [
        message(trade()),
        message(PriceUpdate(price_yes=1, shares_yes=2, shares_no=18_446_744_073_709_551_615)),
        message(state(3)),
        message(VoteCast(vote_type=VoteKind.DISPUTE)),
        message(DiscussionChange(action="deleted", discussion_id="d", user_wallet="w")),
        message(Retraction(kind="trade", record_id="t", slot=5), seq=9),
        Message(MARKET, Promotion(trades=("t",), votes=("v",), market=True), AT, "finalized"),
    ]
    await bus.publish(sent)
    assert [await reader.next() for _ in sent] == sent
    await reader.close()


async def test_each_kind_has_the_channel_that_other_programs_know(bus: Bus, redis: Redis) -> None:
    async with redis.pubsub() as pubsub:
        await pubsub.psubscribe("*")
        assert (await pubsub.get_message(timeout=120))["type"] == "psubscribe"
        await bus.publish(
            [
                message(state()),
                message(PriceUpdate(price_yes=1, shares_yes=0, shares_no=0)),
                message(trade()),
                message(VoteCast(vote_type=VoteKind.PROPOSAL)),
                message(DiscussionChange(action="created", discussion_id="d", user_wallet="w")),
            ]
        )
        channels = [(await pubsub.get_message(timeout=120))["channel"].decode() for _ in range(5)]
    assert channels == [
        f"market:{MARKET}:update",
        f"market:{MARKET}:price",
        f"market:{MARKET}:trade",
        "global:vote",
        f"market:{MARKET}:discussion",
    ]


async def test_a_cancellation_that_the_client_swallows_ends_the_listener(redis: Redis) -> None:
    class Stubborn(PubSub):
        """As redis-py may be on Python 3.11."""

        async def get_message(self, *arguments: Any, **named: Any) -> Any:
            try:
                return await super().get_message(*arguments, **named)
            except asyncio.CancelledError:
                return None

    class Client(Redis):
        def pubsub(self, **named: Any) -> PubSub:
            return Stubborn(self.connection_pool, **named)

    async def listen() -> None:
        async for item in bus.listen():
            assert isinstance(item, Gap)
            listening.set()

    bus, listening = Bus(Client(connection_pool=redis.connection_pool), SystemClock()), asyncio.Event()
    listener = asyncio.create_task(listen())
    await listening.wait()
    listener.cancel()
    await asyncio.wait({listener}, timeout=120)
    assert listener.cancelled()


async def test_what_nobody_can_read_is_passed_over(bus: Bus, redis: Redis) -> None:
    reader = Reader(bus)
    await reader.ready()
    channel = f"market:{MARKET}:trade"
    await redis.publish(channel, b"not json")
    await redis.publish(channel, b'{"market_id":"UPPER","data":{"type":"trade"}}')
    await redis.publish(channel, b'"' + b"x" * 70_000 + b'"')
    await bus.publish([message(seq=1)])
    assert await reader.next() == message(seq=1)
    await reader.close()


async def test_nothing_to_publish_needs_no_redis() -> None:
    nowhere = Redis(unix_socket_path="/nonexistent/valkey.sock", retry=Retry(NoBackoff(), 0))
    await Bus(nowhere, SystemClock()).publish([])


async def test_listeners_hear_again_after_redis_was_away_and_are_told_of_the_gap(
    own_valkey: EmbeddedValkey,
) -> None:
    async with Redis.from_url(own_valkey.url) as client:
        bus = Bus(client, SystemClock())
        reader = Reader(bus)
        await reader.ready()
        await bus.publish([message(seq=1)])
        assert await reader.next() == message(seq=1)

        await own_valkey.stop()
        await own_valkey.start()

        assert await reader.next() == Gap()
        await bus.publish([message(seq=3)])
        assert await reader.next() == message(seq=3)
        await reader.close()


async def test_listeners_follow_a_client_that_is_led_elsewhere_and_are_told_of_the_gap(
    own_valkey: EmbeddedValkey, redis_url: str
) -> None:
    client = open_redis(RedisSettings(url=RedisUrl(redis_url)))
    bus = Bus(client, SystemClock(), silence_seconds=0.5)
    reader = Reader(bus)
    await reader.ready()
    await lead_redis_to(client, RedisSettings(url=RedisUrl(own_valkey.url)))
    assert await reader.next() == Gap()
    async with Redis.from_url(own_valkey.url) as elsewhere:
        assert await elsewhere.pubsub_numpat() == 2
    await bus.publish([message(state())])
    while await reader.next() != message(state()):
        pass
    await reader.close()
    await client.aclose()


async def test_listeners_are_told_of_messages_that_redis_did_not_take(own_valkey: EmbeddedValkey) -> None:
    impatient = Redis.from_url(own_valkey.url, retry=Retry(NoBackoff(), 0))
    bus = Bus(impatient, SystemClock())
    await own_valkey.stop()
    await bus.publish([message(seq=1)])
    await own_valkey.start()
    async with Redis.from_url(own_valkey.url) as other:
        reader = Reader(Bus(other, SystemClock()))
        await reader.ready()
        await bus.publish([message(seq=2)])
        assert [await reader.next(), await reader.next()] == [Gap(), message(seq=2)]
        await bus.publish([message(seq=3)])
        assert await reader.next() == message(seq=3)
        await reader.close()
    await impatient.aclose()


async def test_a_gap_that_redis_did_not_take_is_told_with_the_next_messages(
    own_valkey: EmbeddedValkey,
) -> None:
    impatient = Redis.from_url(own_valkey.url, retry=Retry(NoBackoff(), 0))
    bus = Bus(impatient, SystemClock())
    await own_valkey.stop()
    await bus.report_gap()
    await own_valkey.start()
    async with Redis.from_url(own_valkey.url) as other:
        reader = Reader(Bus(other, SystemClock()))
        await reader.ready()
        await bus.publish([message(seq=1)])
        assert [await reader.next(), await reader.next()] == [Gap(), message(seq=1)]
        await reader.close()
    await impatient.aclose()


async def test_a_redis_that_is_connected_but_silent_counts_as_away(own_valkey: EmbeddedValkey) -> None:
    async with Redis.from_url(own_valkey.url) as client:
        reader = Reader(Bus(client, SystemClock(), silence_seconds=0.05))
        await reader.ready()
        os.kill(own_valkey.pid, signal.SIGSTOP)
        with capture_logs() as logs:
            upcoming = asyncio.create_task(reader.next())
            await eventually(lambda: bool(logs))
        os.kill(own_valkey.pid, signal.SIGCONT)
        assert logs[0]["event"] == "bus.disconnected"
        assert await upcoming == Gap()
        await reader.close()


async def test_a_quiet_redis_does_not_count_as_away(redis: Redis, redis_url: str) -> None:
    bus = Bus(redis, SystemClock(), silence_seconds=0.05)
    reader = Reader(bus)
    await reader.ready()
    pings = _pings(redis_url)
    upcoming = asyncio.create_task(reader.next())
    await eventually(lambda: _pings(redis_url) >= pings + 3)
    await bus.publish([message(seq=1)])
    assert await upcoming == message(seq=1)
    await reader.close()


def _pings(redis_url: str) -> int:
    with SynchronousRedis.from_url(redis_url) as client:
        return int(client.info("commandstats").get("cmdstat_ping", {}).get("calls", 0))

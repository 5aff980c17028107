"""The Redis channels over which every daemon hears what any of them did. Their names are only here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.faults import Point, reached
from zmartd.log import get_logger
from zmartd.realtime.messages import (
    Change,
    Channel,
    DiscussionChange,
    Gap,
    MarketUpdate,
    Message,
    PriceUpdate,
    Snapshot,
    TradeExecuted,
    VoteCast,
)

__all__ = [
    "Bus",
    "BusUnavailable",
    "Change",
    "Channel",
    "DiscussionChange",
    "Gap",
    "MarketUpdate",
    "Message",
    "PriceUpdate",
    "Snapshot",
    "TradeExecuted",
    "VoteCast",
]

MAX_MESSAGE_BYTES = 65_536
PUBLISH_SECONDS = 5.0
SILENCE_SECONDS = 15.0
"""After so long without a message Redis is asked whether it is there, and has as long to answer."""
BACKOFF_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

_MARKET_PATTERN = "market:*"
_VOTES = "global:vote"
_GAP = "global:gap"

_PUBLISH_ALL = "for i = 1, #ARGV, 2 do redis.call('PUBLISH', ARGV[i], ARGV[i + 1]) end"
"""One command with one answer costs us a third of a pipeline that has as many of both as messages."""

Watcher = Callable[[Message | Gap], None]
"""Takes news without waiting; it must not raise."""

log = get_logger(__name__)


class BusUnavailable(ZmartdError):
    """Redis did not take the messages. Nothing is lost: what they tell is in the database."""

    code = "bus_unavailable"


def channel_name(message: Message) -> str:
    """The Redis channel that a message is published on."""
    if message.channel is Channel.VOTE:
        return _VOTES
    return f"market:{message.market_id}:{message.channel}"


class Bus:
    """Publishes messages and listens to everybody's, this daemon's own included.

    Publish after the commit: a message is news of what is already true, and it may be lost. Who listens
    learns of every possible loss as a `Gap`. `redis` gives bytes (no `decode_responses`).
    """

    def __init__(self, redis: Redis, clock: Clock, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._redis = redis
        self._publish = redis.register_script(_PUBLISH_ALL)
        self._clock = clock
        self._silence_seconds = silence_seconds
        self._decoder = msgspec.json.Decoder(Message)
        self._lost = False
        self._watchers: list[Watcher] = []

    def watch(self, watcher: Watcher) -> None:
        """Have `watcher` told of everything that this daemon publishes, before Redis is asked to take it, and
        of all that it hears while it listens; also, as a `Gap`, that it hears nothing any more.
        """
        self._watchers.append(watcher)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish in order, in one round trip. Raises BusUnavailable."""
        if not messages:
            return
        for message in messages:
            self._tell(message)
        await reached(Point.PUBLISH_BEGUN)
        pairs: list[str | bytes] = [_GAP, b""] if self._lost else []
        for message in messages:
            pairs += channel_name(message), msgspec.json.encode(message)
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self._publish(args=pairs)
        except (RedisError, OSError, TimeoutError) as error:
            self._lost = True
            raise BusUnavailable(reason=str(error) or type(error).__name__) from error
        self._lost = False
        await reached(Point.PUBLISH_DONE)

    async def listen(self) -> AsyncGenerator[Message | Gap]:
        """Every message from now on, in the order in which Redis got them; it never ends by itself.

        The first item is a `Gap`, given when the subscription stands. Another one follows each time that
        Redis was away.
        """
        failures = 0
        while True:
            try:
                async with self._redis.pubsub() as pubsub, aclosing(self._items(pubsub)) as items:
                    async for item in items:
                        failures = 0
                        self._tell(item)
                        yield item
            except (RedisError, OSError) as error:
                self._tell(Gap())
                delay = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
                failures += 1
                log.warning("bus.disconnected", reason=str(error) or "no answer", retry_seconds=delay)
                await self._clock.sleep(delay)

    def _tell(self, news: Message | Gap) -> None:
        for watcher in self._watchers:
            watcher(news)

    async def _items(self, pubsub: PubSub) -> AsyncGenerator[Message | Gap]:
        async with asyncio.timeout(self._silence_seconds):
            await pubsub.subscribe(_VOTES, _GAP)
            await pubsub.psubscribe(_MARKET_PATTERN)
        asked = False
        while True:
            response = await pubsub.get_message(timeout=self._silence_seconds)
            if response is None:
                if asked:
                    raise RedisTimeoutError("Redis does not answer")
                await pubsub.ping()
                asked = True
                continue
            asked = False
            match response["type"]:
                case "psubscribe":
                    # The last of the confirmations. redis-py repeats them when it reconnects on its own.
                    yield Gap()
                case "message" | "pmessage":
                    item = self._decoded(response["channel"], response["data"])
                    if item is not None:
                        yield item

    def _decoded(self, channel: bytes, payload: bytes) -> Message | Gap | None:
        if channel == _GAP.encode():
            return Gap()
        if len(payload) <= MAX_MESSAGE_BYTES:
            try:
                return self._decoder.decode(payload)
            except msgspec.DecodeError as error:
                reason = str(error)
        else:
            reason = f"{len(payload)} bytes are more than {MAX_MESSAGE_BYTES}"
        log.warning("bus.unreadable_message", channel=channel.decode(errors="replace"), reason=reason)
        return None

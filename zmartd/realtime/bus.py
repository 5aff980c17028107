"""Messages about markets and for wallets, from daemon to daemon over Redis pub/sub.

The names of its channels are only here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from zmartd.cancellation import require_not_cancelled
from zmartd.clock import Clock
from zmartd.faults import Point, reached
from zmartd.log import get_logger
from zmartd.realtime.messages import AnyMessage, Channel, Gap, Message, WalletMessage, decode_message
from zmartd.realtime.pushed import pushed
from zmartd.store.pulses import Pulse

MAX_MESSAGE_BYTES = 65_536
PUBLISH_SECONDS = 5.0
SILENCE_SECONDS = 5.0
"""After so long without a message Redis gets a PING, and has as long to answer it."""
BACKOFF_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

_MARKET_PATTERN = "market:*"
_WALLET_PATTERN = "user:*"
_VOTES = "global:vote"
_GAP = "global:gap"
_PULSE = "global:pulse"

_PUBLISH_ALL = "for i = 1, #ARGV, 2 do redis.call('PUBLISH', ARGV[i], ARGV[i + 1]) end"
"""One command costs the daemon a third of a pipeline, which has a command and an answer for each message."""

Observer = Callable[[Message | Gap], None]
"""Called with each message about a market. It must neither raise nor block."""

Receiver = Callable[[AnyMessage], None]
"""Called with each message that this daemon publishes. It must neither raise nor block."""

log = get_logger(__name__)


def channel_name(message: AnyMessage) -> str:
    """The Redis channel that a message is published on."""
    if isinstance(message, WalletMessage):
        return message.stream
    if message.channel is Channel.VOTE:
        return _VOTES
    return f"market:{message.market_id}:{message.channel}"


class Bus:
    """Publishes messages, and receives those of all daemons, this one included.

    Publish after the commit, because a message reports what is in the database. Messages can be lost on the
    way: `Hub` finds those in the database, and other listeners get a `Gap` for every possible loss. `redis`
    must return bytes (no `decode_responses`).
    """

    def __init__(self, redis: Redis, clock: Clock, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._redis = redis
        self._publish = redis.register_script(_PUBLISH_ALL)
        self._clock = clock
        self._silence_seconds = silence_seconds
        self._pulse_decoder = msgspec.json.Decoder(Pulse)
        self._publishing_failed = False
        self._observers: list[Observer] = []
        self._receivers: list[Receiver] = []
        self.is_listening = False
        """Whether `listen` has a connection on which Redis has answered."""
        self.pulse: Pulse | None = None
        """The last one that `listen` received."""

    def add_observer(self, observer: Observer) -> None:
        """Call `observer` with all that this daemon publishes about markets, before Redis gets it, and with
        all that `listen` receives about them. When `listen` loses its connection, it gets a `Gap`.
        """
        self._observers.append(observer)

    @contextmanager
    def published_to(self, receiver: Receiver) -> Iterator[None]:
        """Call `receiver` with all that this daemon publishes, before Redis gets it. `listen` repeats it."""
        self._receivers.append(receiver)
        try:
            yield
        finally:
            self._receivers.remove(receiver)

    async def publish(self, messages: Sequence[AnyMessage]) -> None:
        """Publish in order, in one round trip. Without Redis it logs that they will come late."""
        if not messages:
            return
        for message in messages:
            self._notify(message)
            for receiver in self._receivers:
                receiver(message)
        await reached(Point.PUBLISH_BEGUN)
        pairs: list[str | bytes] = [_GAP, b""] if self._publishing_failed else []
        for message in messages:
            pairs += channel_name(message), msgspec.json.encode(message)
        if await self._sent(pairs):
            await reached(Point.PUBLISH_DONE)

    async def publish_pulse(self, pulse: Pulse) -> None:
        """Publish a pulse. Without Redis nothing is missing: the next one says more."""
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self._publish(args=[_PULSE, msgspec.json.encode(pulse)])

    async def report_gap(self) -> None:
        """Tell the listeners of all daemons that messages may have been lost.

        A daemon does so when it starts: what it had committed when it was killed, it may not have published.
        Without Redis the next messages that are published say it.
        """
        await self._sent([_GAP, b""])

    async def _sent(self, pairs: Sequence[str | bytes]) -> bool:
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self._publish(args=pairs)
        except (RedisError, OSError, TimeoutError) as error:
            self._publishing_failed = True
            reason = str(error) or type(error).__name__
            log.warning("bus.unpublished", messages=len(pairs) // 2, reason=reason)
            return False
        self._publishing_failed = False
        return True

    async def listen(self) -> AsyncGenerator[AnyMessage | Gap]:
        """Every message from now on, in the order in which Redis got them. It does not end.

        The first item is a `Gap`, as soon as the subscription is in place. Another one follows each time that
        the connection to Redis was lost.
        """
        failures = 0
        while True:
            try:
                async with self._redis.pubsub() as pubsub, aclosing(self._items(pubsub)) as items:
                    async for item in items:
                        failures = 0
                        self._notify(item)
                        yield item
            except (RedisError, OSError) as error:
                self.is_listening = False
                self._notify(Gap())
                delay = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
                failures += 1
                log.warning("bus.disconnected", reason=str(error) or "no answer", retry_seconds=delay)
                await self._clock.sleep(delay)

    def _notify(self, item: AnyMessage | Gap) -> None:
        if isinstance(item, WalletMessage):
            return
        for observer in self._observers:
            observer(item)

    async def _items(self, pubsub: PubSub) -> AsyncGenerator[AnyMessage | Gap]:
        async with asyncio.timeout(self._silence_seconds):
            await pubsub.subscribe(_VOTES, _GAP, _PULSE)
            await pubsub.psubscribe(_MARKET_PATTERN)
            await pubsub.psubscribe(_WALLET_PATTERN)
        async with aclosing(pushed(pubsub, self._silence_seconds)) as chunks:
            async for responses in chunks:
                require_not_cancelled()
                if pubsub.connection_pool is not self._redis.connection_pool:
                    raise RedisConnectionError("Redis is elsewhere now")
                for response in responses:
                    match response:
                        case [b"message", channel, payload] | [b"pmessage", _, channel, payload]:
                            item = self._decoded(channel, payload)
                            if item is not None:
                                yield item
                        case [b"psubscribe", name, _] if name == _WALLET_PATTERN.encode():
                            # The last confirmation.
                            self.is_listening = True
                            yield Gap()

    def _decoded(self, channel: bytes, payload: bytes) -> AnyMessage | Gap | None:
        """What a payload says to who listens; None for a pulse, which is kept, and what is unreadable."""
        if channel == _GAP.encode():
            return Gap()
        if len(payload) <= MAX_MESSAGE_BYTES:
            try:
                if channel == _PULSE.encode():
                    self.pulse = self._pulse_decoder.decode(payload)
                    return None
                return decode_message(channel.decode(), payload)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                reason = str(error)
        else:
            reason = f"{len(payload)} bytes are more than {MAX_MESSAGE_BYTES}"
        log.warning("bus.unreadable_message", channel=channel.decode(errors="replace"), reason=reason)
        return None

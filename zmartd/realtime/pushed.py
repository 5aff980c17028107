"""What Redis pushes on a connection that has subscribed.

redis-py takes one response at a time through its parser, with a timer for each. Here all that is there is
parsed at once, by hiredis, and one timer minds the silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Final

import hiredis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

_CHUNK_BYTES: Final = 65_536


async def pushed(pubsub: PubSub, silence_seconds: float) -> AsyncGenerator[list[Any]]:
    """All responses from now on, those that have come together in one list. It does not end.

    `pubsub` has sent its subscriptions, and read nothing. After `silence_seconds` without a response Redis
    gets a PING, and has as long to answer it. Raises RedisError, OSError.
    """
    # redis-py has no way to it that reads what is there and no more.
    stream: asyncio.StreamReader | None = getattr(pubsub.connection, "_reader", None)
    if stream is None:
        raise RedisConnectionError("Redis has closed the connection")
    parser = hiredis.Reader(protocolError=InvalidResponse, replyError=ResponseError)
    silence = _Silence(pubsub, stream, silence_seconds)
    try:
        while True:
            data = await stream.read(_CHUNK_BYTES)
            if not data:
                raise RedisConnectionError("Redis has closed the connection")
            silence.end()
            parser.feed(data)
            responses = []
            while (response := parser.gets()) is not False:
                if isinstance(response, ResponseError):
                    raise response
                responses.append(response)
            yield responses
    finally:
        silence.close()


class _Silence:
    """Sends the PING, and has whoever reads from `stream` fail with RedisTimeoutError where it is in vain."""

    def __init__(self, pubsub: PubSub, stream: asyncio.StreamReader, seconds: float) -> None:
        self._pubsub = pubsub
        self._stream = stream
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._pinged = False
        self._ping: asyncio.Task[None] | None = None
        self._timer = self._loop.call_at(self._since + seconds, self._look)

    def end(self) -> None:
        """Something has come."""
        self._since = self._loop.time()
        self._pinged = False

    def close(self) -> None:
        """Mind it no longer."""
        self._timer.cancel()
        if self._ping is not None:
            self._ping.cancel()

    def _look(self) -> None:
        due = self._since + self._seconds
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._look)
        elif not self._pinged:
            self._pinged = True
            self._ping = self._loop.create_task(self._send_ping())
            self._timer = self._loop.call_later(self._seconds, self._look)
        else:
            self._stream.set_exception(RedisTimeoutError("Redis does not answer"))

    async def _send_ping(self) -> None:
        try:
            await self._pubsub.ping()
        except Exception as error:
            self._stream.set_exception(error)

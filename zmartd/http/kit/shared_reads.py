"""Reads that are shared by those who ask for the same at the same time.

Whoever asks while it is read waits for the next reading, together with all others who do: what each gets was
read after its request had come. So one reading at a time goes on, however many ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")
Read = Callable[[], Coroutine[Any, Any, Answer]]


@dataclass(slots=True)
class _Reading(Generic[Answer]):
    """A reading: `read` and who waits for its `answer`, and once it goes on its task and the next one.

    What it logs is of the request of the first who asked for it: `context` is that one's.
    """

    read: Read[Answer]
    answer: asyncio.Future[Answer]
    context: Context
    task: asyncio.Task[Answer] | None = None
    following: _Reading[Answer] | None = None


class SharedReads(Generic[Key, Answer]):
    """The readings that go on, by what they read."""

    def __init__(self) -> None:
        self._readings: dict[Key, _Reading[Answer]] = {}

    async def get(self, key: Key, read: Read[Answer]) -> Answer:
        """What a reading that begins after this call gives. Raises what `read` raises.

        A caller that is cancelled leaves the reading to the others.
        """
        current = self._readings.get(key)
        if current is None:
            reading = _reading(read)
            self._begin(key, reading)
        elif current.following is None:
            reading = current.following = _reading(read)
        else:
            reading = current.following
        return await asyncio.shield(reading.answer)

    def _begin(self, key: Key, reading: _Reading[Answer]) -> None:
        def end(done: asyncio.Task[Answer]) -> None:
            if reading.following is None:
                del self._readings[key]
            else:
                self._begin(key, reading.following)
            _pass_on(done, reading.answer)

        self._readings[key] = reading
        reading.task = asyncio.create_task(reading.read(), name="shared read", context=reading.context)
        reading.task.add_done_callback(end)


def _reading(read: Read[Answer]) -> _Reading[Answer]:
    return _Reading(read, asyncio.get_running_loop().create_future(), copy_context())


def _pass_on(done: asyncio.Task[Answer], answer: asyncio.Future[Answer]) -> None:
    if done.cancelled():
        answer.cancel()
    elif (error := done.exception()) is not None:
        answer.set_exception(error)
        answer.exception()  # if nobody waits any more, asyncio must not report it as never retrieved
    else:
        answer.set_result(done.result())

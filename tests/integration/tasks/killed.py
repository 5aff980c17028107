"""A coroutine that is killed at an await, as a process is: no cleanup of it runs after that."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")

_KEPT: list[object] = []
"""What was killed, so that Python does not run its cleanup."""


class Killed(BaseException):
    """It was killed."""


async def killed_at(work: Coroutine[Any, Any, Result], awaits: int) -> Result:
    """The result of `work`. Raises Killed as soon as it waits for something for this many-th time.

    It has a task of its own: what it has started may still cancel the task that waited for it.
    """

    async def until_killed() -> Result | Killed:
        try:
            return await _KilledAt(work, awaits)
        except Killed as killed:
            return killed

    ended = await asyncio.create_task(until_killed())
    if isinstance(ended, Killed):
        raise ended
    return ended


class _KilledAt(Generic[Result]):
    def __init__(self, work: Coroutine[Any, Any, Result], awaits: int) -> None:
        self._work = work
        self._awaits = awaits

    def __await__(self) -> Generator[Any, Any, Result]:
        iterator = self._work.__await__()
        for _ in range(self._awaits):
            try:
                waited_for = next(iterator)
            except StopIteration as end:
                result: Result = end.value
                return result
            # A future that fails raises in the work, as it would without this.
            yield waited_for
        _KEPT.extend((iterator, self._work))
        raise Killed

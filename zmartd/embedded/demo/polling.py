"""Doing things together, and waiting for what others do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from zmartd.errors import ZmartdError

PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.1

T = TypeVar("T")


class Unfulfilled(ZmartdError):
    """Something that had to happen did not, within the time it may take."""

    code = "unfulfilled"


async def until(look: Callable[[], Awaitable[T | None]], otherwise: str) -> T:
    """What `look` finds, asked again and again. Raises Unfulfilled with `otherwise` after a while."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (found := await look()) is None:  # noqa: ASYNC110 - an API tells only who asks
                await asyncio.sleep(_POLL_SECONDS)
            return found
    except TimeoutError:
        raise Unfulfilled(otherwise) from None


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """All results in order. The first failure ends the rest and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]

"""Waiting for what others do, and running coroutines together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from zmartd.errors import ZmartdError

WAIT_SECONDS = 30.0
_POLL_SECONDS = 0.1

T = TypeVar("T")


class WaitTimedOut(ZmartdError):
    """Something did not happen in time."""

    code = "wait_timed_out"


async def wait_for(look: Callable[[], Awaitable[T | None]], otherwise: str) -> T:
    """Call `look` until its result is not None. Raises WaitTimedOut with the message `otherwise`."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while (found := await look()) is None:  # noqa: ASYNC110 - the API has to be polled
                await asyncio.sleep(_POLL_SECONDS)
            return found
    except TimeoutError:
        raise WaitTimedOut(otherwise) from None


async def gather_all(*work: Coroutine[Any, Any, T]) -> list[T]:
    """All results in order. The first failure cancels the others, and is raised itself instead of a group."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]

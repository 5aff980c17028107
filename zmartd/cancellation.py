"""The cancellation of tasks that wait for a library which can swallow it.

On Python 3.11 redis-py can take the cancellation of a task for its own time-out, and the task goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any


def is_being_cancelled() -> bool:
    """Whether somebody has cancelled the task that calls this, also where that was swallowed."""
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0


def require_not_cancelled() -> None:
    """Raises CancelledError where `is_being_cancelled`: to be called after each wait for such a library."""
    if is_being_cancelled():
        raise asyncio.CancelledError


async def cancel_all(tasks: Collection[asyncio.Task[Any]], attempt_seconds: float, attempts: int = 2) -> None:
    """Cancel tasks and wait for their ends: again after `attempt_seconds`, and so often at most."""
    for _ in range(attempts):
        left = {task for task in tasks if not task.done()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=attempt_seconds)

"""The same step for many markets at once; a failure is reported and does not stop the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from zmartd.errors import ZmartdError
from zmartd.tasks.base import TaskAction
from zmartd.tasks.failure_log import FailureLog

CONCURRENCY: Final = 4

Step = Callable[[str], Awaitable[TaskAction | None]]


async def fan_out(
    market_ids: Iterable[str], action: str, step: Step, failures: FailureLog
) -> list[TaskAction]:
    """Run `step` for each market, at most CONCURRENCY at a time; the actions, in the order of the markets.

    A step that raises becomes an `action` that is not ok; a step that returns None is left out.
    """
    limit = asyncio.Semaphore(CONCURRENCY)

    async def attempt(market_id: str) -> TaskAction | None:
        async with limit:
            try:
                return await step(market_id)
            except ZmartdError as error:
                return TaskAction(market_id, action, ok=False, detail=error.message)
            except Exception as error:
                failures.raised("task.market_failed", market_id, error, market_id=market_id, step=action)
                detail = f"{type(error).__name__}; the log has the traceback"
                return TaskAction(market_id, action, ok=False, detail=detail)

    actions = await asyncio.gather(*(attempt(market_id) for market_id in market_ids))
    return [taken for taken in actions if taken is not None]

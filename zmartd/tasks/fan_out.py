"""The same step for many markets at once, where one that fails keeps none of the others waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.tasks.base import Action

log = get_logger(__name__)

CONCURRENCY: Final = 4

Step = Callable[[str], Awaitable[Action | None]]


async def each_market(market_ids: Iterable[str], action: str, step: Step) -> list[Action]:
    """What `step` did to each market, in the order given, at most CONCURRENCY of them at a time.

    A step that raises becomes an `action` that is not ok; None is nothing worth telling.
    """
    turns = asyncio.Semaphore(CONCURRENCY)

    async def attempt(market_id: str) -> Action | None:
        async with turns:
            try:
                return await step(market_id)
            except ZmartdError as error:
                return Action(market_id, action, ok=False, detail=error.message)
            except Exception as error:
                log.exception("task.market_failed", market_id=market_id, step=action)
                detail = f"{type(error).__name__}; the log has the traceback"
                return Action(market_id, action, ok=False, detail=detail)

    actions = await asyncio.gather(*(attempt(market_id) for market_id in market_ids))
    return [taken for taken in actions if taken is not None]

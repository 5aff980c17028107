"""Two things that the indexer does at once, of which one is held on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.patience import SECONDS
from zmartd.faults import Point, watching

Step = Callable[[], Awaitable[Any]]
WAITED_SECONDS = 0.1
"""How long the other one is given. It may have to wait for the one that is held."""


async def beside_each_other(first: Step, second: Step, is_there: Callable[[Point], bool]) -> None:
    """Do the second, as far as that goes, while the first one is at the point of which `is_there` is true."""
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def do_first() -> None:
        await first()
        arrived.set()

    async def hold(point: Point) -> None:
        if asyncio.current_task() is held and not arrived.is_set() and is_there(point):
            arrived.set()
            await go_on.wait()

    with watching(hold):
        held = asyncio.create_task(do_first())
        async with asyncio.timeout(SECONDS):
            await arrived.wait()
            other = asyncio.ensure_future(second())
            await asyncio.wait([other], timeout=WAITED_SECONDS)
            go_on.set()
            await asyncio.gather(held, other)

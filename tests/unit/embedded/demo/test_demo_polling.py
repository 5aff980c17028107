"""Doing things together."""

from __future__ import annotations

import asyncio

import pytest

from zmartd.embedded.demo.polling import WaitTimedOut, gather_all


async def test_results_come_in_the_order_of_the_work() -> None:
    ready = asyncio.Event()

    async def last() -> int:
        await ready.wait()
        return 1

    async def first() -> int:
        ready.set()
        return 2

    assert await gather_all(last(), first()) == [1, 2]


async def test_the_first_failure_is_raised_as_itself_and_ends_the_rest() -> None:
    ended = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fails() -> None:
        await asyncio.sleep(0)
        raise WaitTimedOut("it did not happen")

    with pytest.raises(WaitTimedOut, match="it did not happen"):
        await gather_all(endless(), gather_all(endless(), fails()))
    assert ended.is_set()

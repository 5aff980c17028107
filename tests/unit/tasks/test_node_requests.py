from __future__ import annotations

import asyncio
from collections.abc import Sequence

from zmartd.clock import SystemClock
from zmartd.tasks.node_requests import AT_ONCE, NodeRequests


class SetClock(SystemClock):
    """A clock whose monotonic time the test moves."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


async def test_a_run_has_so_many_requests_and_finishes_what_it_has_begun() -> None:
    requests = NodeRequests(3, SetClock(), 60)

    async def ask(chunk: Sequence[int]) -> int:
        return sum(chunk)

    assert await requests.in_chunks(range(5), ask, 2) == [1, 5, 4]
    assert requests.left == 0
    assert await requests.in_chunks(range(3), ask, 2) == [1, 2]
    assert requests.left == 0


async def test_a_run_asks_nothing_more_when_its_time_for_that_is_over() -> None:
    clock = SetClock()
    requests = NodeRequests(100, clock, 60)
    clock.now += 59
    assert requests.left == 100
    clock.now += 1
    assert requests.left == 0


async def test_only_so_many_requests_are_under_way_at_once() -> None:
    requests, under_way, most = NodeRequests(100, SetClock(), 60), 0, 0

    async def ask(_chunk: Sequence[int]) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    await asyncio.gather(*(requests.in_chunks(range(20), ask, 1) for _ in range(3)))
    assert most == AT_ONCE

"""How clients of streams are sent away before the daemon ends."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from zmartd.clock import SystemClock
from zmartd.http.ws.draining import RETRY_MILLISECONDS, STEP_SECONDS, drain
from zmartd.realtime.client import Client
from zmartd.realtime.close_codes import CloseCode, retry_of
from zmartd.realtime.encodings import text_frame
from zmartd.realtime.outbox import Outbox

SECONDS = 5.0
COUNT = 1_000


class SkippingClock(SystemClock):
    """Time passes while somebody sleeps, and at once."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Departures:
    """When each client was closed, by its number, and why."""

    def __init__(self, clock: SkippingClock) -> None:
        self._clock = clock
        self.at: dict[int, tuple[float, int, str]] = {}

    def client(self, number: int) -> Client:
        return Client(
            _Writer(lambda *why: self._closed(number, *why)), Outbox(65_536, self._clock), text_frame
        )

    def _closed(self, number: int, code: int, reason: str) -> None:
        self.at[number] = (self._clock.now, code, reason)


class _Writer:
    behind = False

    def __init__(self, close: Callable[[int, str], None]) -> None:
        self.close = close
        self.write: Callable[[bytes], None] = lambda _: None

    def buffered_bytes(self) -> int:
        return 0


async def departures(count: int, seconds: float) -> tuple[SkippingClock, Departures]:
    clock = SkippingClock()
    left = Departures(clock)
    await drain([left.client(number) for number in range(count)], seconds, clock, random.Random(7))
    return clock, left


async def test_they_leave_one_after_the_other_over_all_of_the_time() -> None:
    clock, left = await departures(COUNT, SECONDS)
    assert sorted(left.at) == list(range(COUNT))
    times = [at for at, _, _ in left.at.values()]
    assert (min(times), max(times)) == pytest.approx((100.0 + STEP_SECONDS, 100.0 + SECONDS))
    most = max(times.count(at) for at in set(times))
    assert most <= COUNT * STEP_SECONDS / SECONDS + 1
    assert clock.now == pytest.approx(100.0 + SECONDS)


async def test_each_is_told_after_how_long_to_come_back_and_not_all_the_same() -> None:
    _, left = await departures(COUNT, SECONDS)
    assert {code for _, code, _ in left.at.values()} == {CloseCode.SERVICE_RESTART}
    told = [retry_of(reason) for _, _, reason in left.at.values()]
    assert all(one in RETRY_MILLISECONDS for one in told)
    assert len(set(told)) > COUNT / 3


async def test_those_who_came_first_are_not_the_first_to_leave() -> None:
    _, left = await departures(COUNT, SECONDS)
    assert list(left.at)[: COUNT // 10] != sorted(left.at)[: COUNT // 10]
    assert list(left.at)[: COUNT // 10] != sorted(left.at)[-COUNT // 10 :][::-1]


async def test_the_time_passes_also_where_nobody_is_there() -> None:
    clock, left = await departures(0, SECONDS)
    assert clock.now == pytest.approx(100.0 + SECONDS)
    assert left.at == {}


async def test_without_time_all_leave_at_once() -> None:
    clock, left = await departures(3, 0.0)
    assert (clock.now, len(left.at)) == (100.0, 3)


def test_the_reason_of_another_close_says_nothing_of_a_return() -> None:
    assert retry_of("no answer to a ping") is None

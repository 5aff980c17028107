from __future__ import annotations

import asyncio

from zmartd.http.ws.heartbeat import PONG_SHARE, Heartbeat


class Pinged:
    def __init__(self, *, answers: bool) -> None:
        self.awaits_pong = False
        self.pings: list[float] = []
        self.ended_at: float | None = None
        self._answers = answers

    def ping(self) -> None:
        self.pings.append(asyncio.get_running_loop().time())
        self.awaits_pong = not self._answers

    def end_silent(self) -> None:
        self.ended_at = self.ended_at or asyncio.get_running_loop().time()


async def test_each_is_pinged_once_in_a_while_and_one_that_does_not_answer_is_ended() -> None:
    heartbeat = Heartbeat(0.5)
    good, silent = [Pinged(answers=True) for _ in range(20)], Pinged(answers=False)
    slots = [heartbeat.add(one) for one in (*good, silent)]
    async with asyncio.timeout(60):
        while silent.ended_at is None or min(len(one.pings) for one in good) < 2:  # noqa: ASYNC110 - timers
            await asyncio.sleep(0.01)
    assert silent.ended_at - silent.pings[0] >= 0.5 * PONG_SHARE * 0.9
    assert all(one.ended_at is None for one in good)
    assert all(one.pings[1] - one.pings[0] >= 0.45 for one in good)
    times = sorted(one.pings[0] for one in good)
    assert times[-1] - times[0] >= 0.35  # they are spread over the slots
    for one, slot in zip((*good, silent), slots, strict=True):
        heartbeat.remove(one, slot)
    pings = sum(len(one.pings) for one in good)
    await asyncio.sleep(0.2)
    assert sum(len(one.pings) for one in good) == pings
    again = Pinged(answers=True)
    heartbeat.add(again)
    async with asyncio.timeout(60):
        while not again.pings:  # noqa: ASYNC110 - timers
            await asyncio.sleep(0.01)

from __future__ import annotations

import pytest

from zmartd.http.errors.websocket import TooManyConnections, TooManyMessages
from zmartd.http.ws.limits import Allowance, Seats


class Stopwatch:
    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_an_address_holds_its_seats_and_no_more() -> None:
    seats = Seats(2)
    with seats.seat("a"), seats.seat("a"):
        with pytest.raises(TooManyConnections), seats.seat("a"):
            pytest.fail("a third seat")
        with seats.seat("b"):
            pass
    with seats.seat("a"), seats.seat("a"):
        pass


def test_a_seat_is_free_again_after_a_failure() -> None:
    seats = Seats(1)
    with pytest.raises(RuntimeError), seats.seat("a"):
        raise RuntimeError
    with seats.seat("a"):
        pass


def test_a_connection_may_send_so_many_frames_a_minute() -> None:
    clock = Stopwatch()
    allowance = Allowance(2, clock)
    allowance.take()
    clock.now += 59.5
    allowance.take()
    with pytest.raises(TooManyMessages) as refusal:
        allowance.take()
    assert refusal.value.details == {"limit": 2}
    clock.now += 0.5
    allowance.take()
    allowance.take()
    with pytest.raises(TooManyMessages):
        allowance.take()

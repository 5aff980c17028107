from __future__ import annotations

import pytest

from tests.unit.http.ws.test_frame_counter import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame
from tests.unit.http.ws.test_websocket_limits import Stopwatch
from zmartd.config import RealtimeSettings
from zmartd.http.errors.websocket import TooManyMessages
from zmartd.http.ws.frame_limits import READS_PER_FRAME, FrameLimits

DAY = 86_400.0
"""Seconds between our pings, so that the client owes one pong a minute."""


def limits(
    messages: int, control_frames: int, heartbeat_seconds: float = DAY, clock: Stopwatch | None = None
) -> FrameLimits:
    settings = RealtimeSettings(
        max_messages_per_minute=messages,
        max_control_frames_per_minute=control_frames,
        heartbeat_seconds=heartbeat_seconds,
    )
    return FrameLimits(settings, clock or Stopwatch())


@pytest.mark.parametrize(
    "sent",
    [
        frame(TEXT, b"{}"),
        frame(TEXT),
        frame(BINARY, b"{}"),
        frame(TEXT, final=False),
        frame(CONTINUATION, final=False),
        frame(3, b"of a kind that there is not"),
        frame(TEXT, b"unmasked", masked=False),
        bytes([0xC1]) + frame(TEXT, b"said to be compressed")[1:],
    ],
    ids=str,
)
def test_every_frame_but_control_frames_is_counted_as_a_message(sent: bytes) -> None:
    few = limits(messages=3, control_frames=1)
    assert [few.accepts(sent) for _ in range(5)] == [True, True, True, False, False]


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_control_frames_are_counted_by_themselves(opcode: int) -> None:
    few = limits(messages=1, control_frames=2)
    assert all(few.accepts(frame(opcode)) for _ in range(3))
    assert few.accepts(frame(TEXT, b"{}"))
    assert not few.accepts(frame(opcode))


def test_the_limit_of_control_frames_grows_with_our_pings() -> None:
    few = limits(messages=1, control_frames=1, heartbeat_seconds=2.0)
    assert all(few.accepts(frame(PONG)) for _ in range(31))
    assert not few.accepts(frame(PONG))


def test_reads_that_bring_single_bytes_are_counted_too() -> None:
    few = limits(messages=1, control_frames=1)
    passed = [few.accepts(bytes([byte])) for byte in frame(TEXT, b"x" * 4_000)]
    assert passed.count(True) == READS_PER_FRAME * 3


def test_a_limit_starts_over_each_minute_but_not_once_it_was_exceeded() -> None:
    clock = Stopwatch()
    few = limits(messages=2, control_frames=1, clock=clock)
    assert few.accepts(frame(TEXT) * 2)
    clock.now += 60.0
    assert few.accepts(frame(TEXT) * 2)
    assert not few.accepts(frame(TEXT))
    clock.now += 3_600.0
    assert not few.accepts(frame(TEXT))


def test_exceeding_a_limit_is_reported_once_also_to_a_late_callback() -> None:
    told: list[TooManyMessages] = []
    early, late = (limits(messages=1, control_frames=1) for _ in range(2))
    early.on_exceeded(told.append)
    early.accepts(frame(TEXT) * 2)
    early.accepts(frame(TEXT) * 2)
    assert len(told) == 1
    late.accepts(frame(TEXT) * 2)
    late.on_exceeded(told.append)
    assert len(told) == 2


def test_a_frame_of_the_largest_length_is_one_frame() -> None:
    few = limits(messages=1, control_frames=1)
    assert few.accepts(bytes([0x81, 0xFF]) + b"\xff" * 8 + bytes(4))
    assert few.accepts(frame(PING) * 20)

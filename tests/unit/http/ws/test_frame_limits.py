from __future__ import annotations

import pytest

from tests.signing_wallet import FixedClock
from zmartd.config import RealtimeSettings
from zmartd.http.errors.websocket import TooManyMessages
from zmartd.http.ws.frame_limits import READS_PER_FRAME, FrameCounts, FrameLimits

DAY = 86_400.0
"""Seconds between our pings, so that the client owes one pong a minute."""


def counts(
    messages: int, control_frames: int, heartbeat_seconds: float = DAY, clock: FixedClock | None = None
) -> FrameCounts:
    settings = RealtimeSettings(
        max_messages_per_minute=messages,
        max_control_frames_per_minute=control_frames,
        heartbeat_seconds=heartbeat_seconds,
    )
    return FrameCounts(FrameLimits(settings, clock or FixedClock()), "203.0.113.9")


def send(counted: FrameCounts, *control: bool) -> None:
    """Frames that arrive together, by whether each is a control frame."""
    counted.count_read()
    for is_control in control:
        counted.count_frame(is_control)


def test_control_frames_are_counted_by_themselves() -> None:
    few = counts(messages=1, control_frames=2)
    send(few, True, True, True, False)
    with pytest.raises(TooManyMessages):
        send(few, True)
    with pytest.raises(TooManyMessages):
        send(few, False)


def test_the_limit_of_control_frames_grows_with_our_pings() -> None:
    few = counts(messages=1, control_frames=1, heartbeat_seconds=2.0)
    send(few, *[True] * 31)
    with pytest.raises(TooManyMessages):
        send(few, True)


def test_reads_that_bring_single_bytes_are_counted_too() -> None:
    few = counts(messages=1, control_frames=1)
    for _ in range(READS_PER_FRAME * 3):
        few.count_read()
    with pytest.raises(TooManyMessages):
        few.count_read()


def test_a_limit_starts_over_each_minute() -> None:
    clock = FixedClock()
    few = counts(messages=2, control_frames=1, clock=clock)
    send(few, False, False)
    clock.now += 59.0
    with pytest.raises(TooManyMessages):
        send(few, False)
    clock.now += 1.0
    send(few, False, False)
    with pytest.raises(TooManyMessages):
        send(few, False)

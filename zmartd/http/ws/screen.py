"""What a WebSocket client may send, decided before anything of it is parsed."""

from __future__ import annotations

import math
from collections.abc import Callable

from zmartd.clock import Clock
from zmartd.config import Realtime
from zmartd.http.errors.websocket import TooManyMessages
from zmartd.http.ws.limits import WINDOW_SECONDS, Allowance
from zmartd.http.ws.meter import FrameMeter

READS_PER_FRAME = 16
"""A frame of 4 KiB comes in three or four TCP segments. A client that sends each byte by itself makes the
event loop turn for every one of them, which costs more than a frame does.
"""


class Screen:
    """Lets a client's bytes through to the parser for as long as it sends no more than it may.

    Control frames have an allowance of their own, so that answers to our pings, which browsers send by
    themselves, take nothing from the messages.
    """

    def __init__(self, settings: Realtime, clock: Clock) -> None:
        our_pings = math.ceil(WINDOW_SECONDS / settings.heartbeat_seconds)
        control_frames = settings.max_control_frames_per_minute + our_pings
        reads = READS_PER_FRAME * (settings.max_messages_per_minute + control_frames)
        self._messages = Allowance(settings.max_messages_per_minute, clock)
        self._control_frames = Allowance(control_frames, clock)
        self._reads = Allowance(reads, clock)
        self._meter = FrameMeter(self._count)
        self._refused: TooManyMessages | None = None
        self._refuse: Callable[[TooManyMessages], None] | None = None

    def when_refused(self, refuse: Callable[[TooManyMessages], None]) -> None:
        """Tell `refuse` once when the client has sent too much; at once if it has already."""
        self._refuse = refuse
        if self._refused is not None:
            refuse(self._refused)

    def passes(self, data: bytes) -> bool:
        """Whether `data` may be parsed. After the first no, nothing may."""
        if self._refused is not None:
            return False
        try:
            self._reads.take()
            self._meter.feed(data)
        except TooManyMessages as error:
            self._refused = error
            if self._refuse is not None:
                self._refuse(error)
            return False
        return True

    def _count(self, control: bool) -> None:
        (self._control_frames if control else self._messages).take()

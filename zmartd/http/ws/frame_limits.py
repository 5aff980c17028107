"""Limits on the frames that a WebSocket client sends, checked before they are acted on."""

from __future__ import annotations

import math

from zmartd.clock import Clock
from zmartd.config import RealtimeSettings
from zmartd.http.errors.websocket import TooManyMessages
from zmartd.http.ws.message_limit import MessageLimit
from zmartd.metrics import Counter

WINDOW_SECONDS = 60.0
READS_PER_FRAME = 16
"""A frame of 4 KiB arrives in three or four TCP segments. A client that sends single bytes makes the event
loop turn for each of them, which costs more than a frame does."""

breaches = Counter("zmartd_websocket_breaches", "Limits that WebSocket clients exceeded.", ["code"])


class FrameLimits:
    """The limits of all clients: messages, control frames and reads of one client in a minute.

    Control frames have a limit of their own: browsers answer our pings by themselves, and these pongs must
    not count as messages.
    """

    def __init__(
        self, settings: RealtimeSettings, clock: Clock, of_clients: MessageLimit | None = None
    ) -> None:
        """`of_clients` counts the messages of all connections of a client."""
        our_pings = math.ceil(WINDOW_SECONDS / settings.heartbeat_seconds)
        self.messages = settings.max_messages_per_minute
        self.control_frames = settings.max_control_frames_per_minute + our_pings
        self.reads = READS_PER_FRAME * (self.messages + self.control_frames)
        self.clock = clock
        self.of_clients = of_clients


class FrameCounts:
    """What came over one connection in this minute, which begins with the first read after the last one."""

    __slots__ = ("_client", "_control_frames", "_ends_at", "_limits", "_messages", "_reads")

    def __init__(self, limits: FrameLimits, client: str) -> None:
        """`client`: whose connection it is."""
        self._limits = limits
        self._client = client
        self._ends_at = -math.inf
        self._messages = self._control_frames = self._reads = 0

    def count_read(self) -> None:
        """Count bytes that arrived together. Raises TooManyMessages."""
        now = self._limits.clock.monotonic()
        if now >= self._ends_at:
            self._ends_at = now + WINDOW_SECONDS
            self._messages = self._control_frames = self._reads = 0
        self._reads += 1
        if self._reads > self._limits.reads:
            raise TooManyMessages

    def count_frame(self, is_control: bool) -> None:
        """Count a frame; each fragment of a message is one, an empty one too. Raises TooManyMessages."""
        if is_control:
            self._control_frames += 1
            if self._control_frames > self._limits.control_frames:
                raise TooManyMessages
        else:
            self._messages += 1
            if self._messages > self._limits.messages:
                raise TooManyMessages
            if self._limits.of_clients is not None:
                self._limits.of_clients.count(self._client)

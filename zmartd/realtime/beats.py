"""Sends each client that is subscribed to something a beat: up to where it has everything.

A client that gets no beat for ten seconds knows that its daemon is frozen. One that gets beats and no frames
knows that nothing happens, unless the beat says which part does not work.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import Final

import msgspec
from prometheus_client import Gauge

from zmartd.clock import Clock
from zmartd.log import get_logger
from zmartd.realtime import frames
from zmartd.realtime.batch import EncodedFrame
from zmartd.realtime.bus import Bus
from zmartd.realtime.client import Client, deliver_to_all
from zmartd.realtime.encodings import Audience
from zmartd.realtime.hub import Hub
from zmartd.realtime.vouching import REASONS, Reason, Vouching

BEAT_SECONDS: Final = 4.5
"""The most between two beats to a client, besides what it takes to write them to all."""
JUDGE_SECONDS: Final = 0.25

_NO_STREAMS: Final = b"{}}}"
"""How a beat ends that names no stream."""

_degraded = Gauge(
    "zmartd_realtime_degraded", "1 while a beat says that this part does not work, else 0.", ["reason"]
)

log = get_logger(__name__)


class Beats:
    """Beats for the clients of a hub. `run` has to be running."""

    def __init__(self, hub: Hub, bus: Bus, clock: Clock) -> None:
        self._hub = hub
        self._bus = bus
        self._clock = clock
        self._vouching = Vouching(clock.monotonic())
        self._show()

    @property
    def degraded(self) -> tuple[Reason, ...]:
        """The parts that do not work, so that clients may lack something."""
        return self._vouching.reasons

    async def run(self) -> None:
        """Send beats until cancelled: to each client in time, and to all at once when anything changes."""
        next_at = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            if self._judge(now):
                log.warning(
                    "realtime.degraded" if self.degraded else "realtime.vouching", reasons=self.degraded
                )
                self._show()
                next_at = now
            if now >= next_at and (self.degraded or self._vouching.vouched is not None):
                next_at = now + BEAT_SECONDS
                self._send()
            await self._clock.sleep(JUDGE_SECONDS)

    def _judge(self, now: float) -> bool:
        hub, bus = self._hub, self._bus
        return self._vouching.judge(now, hub.seen, hub.told, bus.pulse, is_listening=bus.is_listening)

    def _show(self) -> None:
        for reason in REASONS:
            _degraded.labels(reason).set(reason in self.degraded)

    def _send(self) -> None:
        """Those that were sent the same get the same bytes.

        It is one turn of the event loop, so that a beat says what was sent before it. Many clients may have
        subscriptions that no other has, so what they share is encoded once.
        """
        hub, now = self._hub, datetime.fromtimestamp(self._clock.time(), UTC)
        entries: list[bytes] = []
        by_client: defaultdict[Client, list[int]] = defaultdict(list)
        for place, (name, seq, clients) in enumerate(hub.sent()):
            entries.append(msgspec.json.encode(name) + b":%d" % seq)
            for client in clients:
                by_client[client].append(place)
        groups: defaultdict[tuple[int, ...], list[Client]] = defaultdict(list)
        for client in hub.clients:
            if client.subscriptions:
                groups[tuple(by_client.get(client, ()))].append(client)
        text = frames.beat(hub.epoch, self._vouching.vouched, self.degraded, {}, now).encode()
        head, tail = text[: -len(_NO_STREAMS)], _NO_STREAMS[1:]
        assert text.endswith(_NO_STREAMS), "the streams come last"
        for places, group in groups.items():
            streams = b",".join([entries[place] for place in places])
            deliver_to_all(group, [_SharedFrame(head + b"{" + streams + tail)], "")


class _SharedFrame:
    """A frame that says the same to everybody. `text` is JSON."""

    __slots__ = ("_text",)

    def __init__(self, text: bytes) -> None:
        self._text = text

    def encoded(self, name: str, audience: Audience, prev_seq: int | None = None) -> EncodedFrame:
        return EncodedFrame(audience.encode(self._text))

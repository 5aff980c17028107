"""Sends each client that is subscribed to something a beat: up to where it has everything.

A client that gets no beat for ten seconds knows that its daemon is frozen. One that gets beats and no frames
knows that nothing happens, unless the beat says which part does not work.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from prometheus_client import Gauge

from zmartd.clock import Clock
from zmartd.log import get_logger
from zmartd.realtime import frames
from zmartd.realtime.bus import Bus
from zmartd.realtime.client import Client
from zmartd.realtime.hub import Hub
from zmartd.realtime.vouching import REASONS, Reason, Vouching

BEAT_SECONDS: Final = 4.5
"""The most between two beats to a client, besides what it takes to send them to all."""
JUDGE_SECONDS: Final = 0.25
AT_ONCE: Final = 200
"""Clients that get their beat in one turn of the event loop."""

_degraded = Gauge(
    "zmartd_realtime_degraded", "1 while a beat names this part as not working, else 0", ["reason"]
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
                await self._send()
            await self._clock.sleep(JUDGE_SECONDS)

    def _judge(self, now: float) -> bool:
        hub, bus = self._hub, self._bus
        return self._vouching.judge(now, hub.seen, hub.told, bus.pulse, is_listening=bus.is_listening)

    def _show(self) -> None:
        for reason in REASONS:
            _degraded.labels(reason).set(reason in self.degraded)

    async def _send(self) -> None:
        clients = iter(list(self._hub.clients))
        while some := list(islice(clients, AT_ONCE)):
            self._send_to(some)
            await asyncio.sleep(0)

    def _send_to(self, clients: list[Client]) -> None:
        """Those with the same subscriptions at the same positions get the same bytes."""
        hub, vouched, now = self._hub, self._vouching.vouched, datetime.fromtimestamp(self._clock.time(), UTC)
        encoded: dict[tuple[tuple[str, int], ...], bytes] = {}
        for client in clients:
            if not client.subscriptions:
                continue
            positions = hub.positions(client)
            frame = encoded.get(positions)
            if frame is None:
                frame = frames.beat(hub.epoch, vouched, self.degraded, positions, now).encode()
                encoded[positions] = frame
            client.send(frame)

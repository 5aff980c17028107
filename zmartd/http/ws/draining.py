"""Sends clients of streams away before the daemon ends, so that they do not come back together."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Final

from zmartd.clock import Clock
from zmartd.realtime.client import Client
from zmartd.realtime.close_codes import CloseCode, restart_reason

STEP_SECONDS: Final = 0.05
"""The time between two looks at who is due."""
RETRY_MILLISECONDS: Final = range(100, 1_100)
"""After how long clients are asked to come back, each after another time of these."""


def send_away(client: Client, jitter: random.Random) -> None:
    """Close a client's connection, and say when to come back: to another daemon, or to the next one here."""
    client.close(CloseCode.SERVICE_RESTART, restart_reason(jitter.choice(RETRY_MILLISECONDS)))


async def drain(clients: Iterable[Client], seconds: float, clock: Clock, jitter: random.Random) -> None:
    """Send all away, spread evenly over so many seconds, which pass also where there are none."""
    waiting = list(clients)
    jitter.shuffle(waiting)
    count, began = len(waiting), clock.monotonic()
    while (passed := clock.monotonic() - began) < seconds:
        stay = round(count * (1 - passed / seconds))
        while len(waiting) > stay:
            send_away(waiting.pop(), jitter)
        await clock.sleep(min(STEP_SECONDS, seconds - passed))
    for client in waiting:
        send_away(client, jitter)

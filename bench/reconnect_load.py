"""The clients of `bench.reconnects`, in their own process: all of them connect within a few seconds.

    python -m bench.reconnect_load '{"port": ..., "clients": 10000, "seconds": 5, "opening": "...", ...}'

It prints one `Storm`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

import msgspec
import uvloop
from msgspec import Struct

from zmartd.http.server import file_descriptors

TIMEOUT_SECONDS = 120.0


class StormPlan(Struct, frozen=True):
    """So many clients connect at even distances within some seconds.

    Each sends `opening`, one character for each byte, and has everything once it has got `last`.
    """

    port: int
    clients: int
    seconds: float
    opening: str
    last: str
    addresses: int
    """How many addresses of this machine they come from."""


class Storm(Struct, frozen=True):
    """How long each client waited from when it was due to connect until it had everything, sorted; how much
    all of them got; and how many lost their connection before.
    """

    waited: list[float]
    received_bytes: int
    lost: int


class _Client(asyncio.Protocol):
    def __init__(self, plan: StormPlan, done: asyncio.Future[int]) -> None:
        self._opening, self._last = plan.opening.encode("latin-1"), plan.last.encode()
        self._received = bytearray()
        self._done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._opening)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(ConnectionError(bytes(self._received[:300])))

    def data_received(self, data: bytes) -> None:
        if self._done.done():
            return
        searched = max(0, len(self._received) - len(self._last))
        self._received += data
        if self._received.find(self._last, searched) >= 0:
            self._done.set_result(len(self._received))


async def storm(plan: StormPlan) -> Storm:
    """Connect all clients, and keep them connected until the last has everything."""
    loop = asyncio.get_running_loop()
    file_descriptors.raise_limit()
    began = time.monotonic() + 0.1
    waited: list[float] = []
    transports: list[asyncio.Transport] = []
    received = lost = 0

    async def connect(number: int) -> None:
        nonlocal received, lost
        due = began + number * plan.seconds / plan.clients
        await asyncio.sleep(due - time.monotonic())
        done: asyncio.Future[int] = loop.create_future()
        transport, _ = await loop.create_connection(
            lambda: _Client(plan, done),
            "127.0.0.1",
            plan.port,
            local_addr=(f"127.0.0.{1 + number % plan.addresses}", 0),
        )
        transports.append(transport)
        try:
            got = await done
        except ConnectionError:
            lost += 1
            return
        received += got
        waited.append(time.monotonic() - due)

    async with asyncio.timeout(TIMEOUT_SECONDS):
        await asyncio.gather(*map(connect, range(plan.clients)))
    for transport in transports:
        transport.abort()
    return Storm(sorted(waited), received, lost)


if __name__ == "__main__":
    print(msgspec.json.encode(uvloop.run(storm(msgspec.json.decode(sys.argv[1], type=StormPlan)))).decode())

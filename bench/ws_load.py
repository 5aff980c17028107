"""The clients of `bench.ws`, in their own process: many connections that read what they are sent.

    python -m bench.ws_load '{"port": ..., "connections": 1000, "opening": "...", "ready_after": "..."}'

It prints `ready` when all are connected, takes each line of its standard input as a `Watch`, and answers with
a `Seen` once every connection has got so many bytes.
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
READY_SECONDS = 300.0
MAX_OPENING = 500
"""Connections that are not ready yet: of more than it can hold, the system would drop some."""
PING = b"\x89\x00"
"""No other frame has these bytes: not in its text, nor in the lengths that are used here."""
PONG = b"\x8a\x80" + bytes(4)


class WatchPlan(Struct, frozen=True):
    """Where to connect, what each connection sends first, and after which bytes it is ready."""

    port: int
    connections: int
    opening: str
    """One character for each byte."""
    ready_after: str
    addresses: int = 1
    """How many addresses of this machine the connections come from: one has ports for 28,000."""


class Watch(Struct, frozen=True):
    """What each connection will get: so many frames of so many bytes."""

    frames: int
    frame_bytes: int


class Seen(Struct, frozen=True):
    """When each frame had arrived at the last of the connections, by the monotonic clock."""

    arrived: list[float]


class _Connection(asyncio.Protocol):
    def __init__(self, plan: WatchPlan, watching: _Watching) -> None:
        self._opening, self._ready_after = plan.opening.encode("latin-1"), plan.ready_after.encode()
        self._watching = watching
        self._transport: asyncio.Transport | None = None
        self._head: bytes | None = b""
        self.got = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._opening)
        if not self._ready_after:
            self._head = None
            self._watching.ready()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head is not None:
            self._watching.refused(self._head)

    def data_received(self, data: bytes) -> None:
        if pings := data.count(PING):
            assert self._transport is not None, "it is connected"
            self._transport.write(PONG)
        if self._head is None:
            before = self.got
            self.got += len(data) - pings * len(PING)
            self._watching.count(before, self.got)
            return
        self._head += data
        if self._ready_after in self._head:
            self._head = None
            self._watching.ready()


class _Watching:
    """Counts what has arrived at all connections together."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._missing = connections
        self.all_ready = asyncio.Event()
        self._refused: bytes | None = None
        self._watch: Watch | None = None
        self._counts: list[int] = []
        self._arrived: list[float] = []
        self.done = asyncio.Event()

    def refused(self, answer: bytes) -> None:
        """A connection has ended before it was ready."""
        self._refused = answer
        self.all_ready.set()

    async def until_ready(self, count: int) -> None:
        """Return when so many are ready, or one was refused."""
        while self._connections - self._missing < count and self._refused is None:  # noqa: ASYNC110 - a count
            await asyncio.sleep(0.01)

    def require_ready(self) -> None:
        """Raises ConnectionError where a connection was refused."""
        if self._refused is not None:
            raise ConnectionError(self._refused)

    def ready(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            self.all_ready.set()

    def begin(self, watch: Watch) -> None:
        self._watch = watch
        self._counts, self._arrived = [0] * watch.frames, [0.0] * watch.frames
        self.done.clear()

    def count(self, before: int, after: int) -> None:
        """A connection has got the bytes from `before` to `after`."""
        if self._watch is None:
            return
        size = self._watch.frame_bytes
        now = time.monotonic()
        for frame in range(before // size, min(after // size, self._watch.frames)):
            self._counts[frame] += 1
            if self._counts[frame] == self._connections:
                self._arrived[frame] = now
                if frame == self._watch.frames - 1:
                    self.done.set()

    def seen(self) -> Seen:
        return Seen(self._arrived)


async def watch(plan: WatchPlan) -> None:
    """Connect, and answer each watch."""
    loop = asyncio.get_running_loop()
    watching = _Watching(plan.connections)
    connections: list[_Connection] = []
    file_descriptors.raise_limit()
    for number in range(plan.connections):
        _, one = await loop.create_connection(
            lambda: _Connection(plan, watching),
            "127.0.0.1",
            plan.port,
            local_addr=(f"127.0.0.{1 + number % plan.addresses}", 0),
        )
        connections.append(one)
        if len(connections) % MAX_OPENING == 0:
            await watching.until_ready(len(connections))
    async with asyncio.timeout(READY_SECONDS):
        await watching.all_ready.wait()
    watching.require_ready()
    _say(b"ready")
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        for one in connections:
            one.got = 0
        watching.begin(msgspec.json.decode(line, type=Watch))
        _say(b"watching")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await watching.done.wait()
        _say(msgspec.json.encode(watching.seen()))


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(watch(msgspec.json.decode(sys.argv[1], type=WatchPlan)))

"""The WebSocket clients of `tests.stress.rolling`, in a process of their own.

    python -m tests.stress.rolling_clients '{"port": ..., "clients": 300, "markets": ["..."]}'

Each follows one market, counts the numbers of its frames, and comes back when its connection ends. The
process prints `ready` when all follow theirs, reads one line with the last number of each market, and prints
a `Report` when every client has got everything.
"""

from __future__ import annotations

import asyncio
import random
import re
import struct
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import cast

import msgspec
import uvloop
from msgspec import UNSET, Struct, UnsetType

from zmartd.http.server import file_descriptors
from zmartd.realtime.close_codes import retry_of

MAX_OPENING = 100
"""Connections that the first of them open at a time."""
UNASKED_SECONDS = (0.2, 1.0)
"""When a client comes back that was not told when."""
PATIENCE_SECONDS = 600.0
_UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3})")


class Plan(Struct, frozen=True):
    """So many clients of these markets, each of the next one, through a proxy on this port."""

    port: int
    clients: int
    markets: list[str]


class Report(Struct, kw_only=True):
    """What became of all clients."""

    frames: int = 0
    """With a number."""
    gaps: int = 0
    """Frames whose number was not the next one."""
    unrecovered: int = 0
    """Returns after which the daemon did not have what was missed."""
    returns: int = 0
    endings: dict[str, int] = {}
    """Of connections, by close code, `cut` without one, or `refused` and the status of the handshake."""
    away_seconds: list[float] = []
    """From the end of a connection until the client had resumed: median, 99th percentile, longest."""
    busiest_second: int = 0
    """The most returns within a second."""
    late_seconds: list[float] = []
    """From when something was told until clients had it that never had to come back: the same."""


class _Data(Struct):
    recovered: bool | UnsetType = UNSET


class _Frame(Struct):
    type: str
    seq: int | UnsetType = UNSET
    epoch: str | UnsetType = UNSET
    timestamp: datetime | None = None
    data: _Data | None = None


_decoder = msgspec.json.Decoder(_Frame)


class Crowd:
    """All clients, and what is counted about them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.report = Report()
        self.endings: Counter[str] = Counter()
        self.away: list[float] = []
        self.late: Counter[float] = Counter()
        """By tenths of a second."""
        self.returned: Counter[int] = Counter()
        self.rng = random.Random(1)
        self.opening = asyncio.Semaphore(MAX_OPENING)
        self.clients = [
            _Client(self, plan.markets[number % len(plan.markets)]) for number in range(plan.clients)
        ]

    async def live(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(client.begin() for client in self.clients))
            print("ready", flush=True)
            line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
            last = msgspec.json.decode(line, type=dict[str, int])
            for client in self.clients:
                await client.until(last[client.market])
        self.away.sort()
        self.report.late_seconds = _percentiles(sorted(self.late.elements()))
        self.report.endings = dict(self.endings)
        self.report.busiest_second = max(self.returned.values(), default=0)
        self.report.away_seconds = _percentiles(self.away)
        print(msgspec.json.encode(self.report).decode(), flush=True)


def _percentiles(ordered: Sequence[float]) -> list[float]:
    """The median, the 99th percentile and the longest; none of none."""
    last = len(ordered) - 1
    return [round(ordered[min(last, len(ordered) * part // 100)], 3) for part in (50, 99, 100) if ordered]


class _Client(asyncio.Protocol):
    def __init__(self, crowd: Crowd, market: str) -> None:
        self._crowd = crowd
        self.market = market
        self._epoch = ""
        self.seq = -1
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._is_open = False
        self._ending = "cut"
        self._retry_seconds: float | None = None
        self._left_at: float | None = None
        self._has_left = False
        self._follows = asyncio.Event()
        self._moved = asyncio.Event()

    async def begin(self) -> None:
        async with self._crowd.opening:
            await self._connect()
            await self._follows.wait()

    async def until(self, seq: int) -> None:
        while self.seq < seq:
            self._moved.clear()
            await self._moved.wait()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.create_connection(lambda: self, "127.0.0.1", self._crowd.plan.port)
            except OSError:
                self._crowd.endings["refused by the system"] += 1
                await asyncio.sleep(self._crowd.rng.uniform(*UNASKED_SECONDS))
            else:
                return

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._received.clear()
        self._is_open = False
        self._ending, self._retry_seconds = "cut", None
        self._transport.write(_UPGRADE)

    def connection_lost(self, exc: Exception | None) -> None:
        crowd = self._crowd
        crowd.endings[self._ending] += 1
        self._has_left = True
        if self._left_at is None:
            self._left_at = time.monotonic()
        seconds = self._retry_seconds
        wait = crowd.rng.uniform(*UNASKED_SECONDS) if seconds is None else seconds
        loop = asyncio.get_running_loop()
        loop.call_later(wait, lambda: loop.create_task(self._connect()))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._is_open and not self._open():
            return
        while (parsed := _parse(self._received)) is not None:
            opcode, payload, size = parsed
            del self._received[:size]
            self._take(opcode, payload)

    def _open(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        status = _STATUS.match(self._received)
        assert self._transport is not None, "it is connected"
        if status is None or status[1] != b"101":
            self._ending = f"refused {status[1].decode() if status else '?'}"
            self._transport.abort()
            return False
        del self._received[: end + 4]
        self._is_open = True
        since = {"since": {"epoch": self._epoch, "seq": self.seq}} if self._epoch else {}
        self._send(_TEXT, msgspec.json.encode({"action": "subscribe", "market_id": self.market, **since}))
        return True

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == _TEXT:
            self._read(_decoder.decode(payload))
        elif opcode == _PING:
            self._send(_PONG, payload)
        elif opcode == _CLOSE:
            (code,) = struct.unpack_from("!H", payload)
            retry = retry_of(payload[2:].decode())
            self._ending = str(code)
            self._retry_seconds = None if retry is None else retry / 1_000
            self._send(_CLOSE, payload[:2])
            assert self._transport is not None, "it is connected"
            self._transport.close()

    def _read(self, frame: _Frame) -> None:
        report = self._crowd.report
        if frame.type == "market_state" and isinstance(frame.epoch, str) and not self._epoch:
            assert isinstance(frame.seq, int)
            self._epoch, self.seq = frame.epoch, frame.seq
            self._follows.set()
        elif frame.type == "market_state" and frame.data is not None and frame.data.recovered is not UNSET:
            report.returns += 1
            report.unrecovered += not frame.data.recovered
            now = time.monotonic()
            self._crowd.returned[int(now)] += 1
            if self._left_at is not None:
                self._crowd.away.append(now - self._left_at)
                self._left_at = None
        elif isinstance(frame.seq, int):
            report.frames += 1
            report.gaps += frame.seq != self.seq + 1
            self.seq = frame.seq
            if frame.timestamp is not None and not self._has_left:
                self._crowd.late[round(time.time() - frame.timestamp.timestamp(), 1)] += 1
        self._moved.set()

    def _send(self, opcode: int, payload: bytes) -> None:
        """A frame whose mask is zero."""
        size = len(payload)
        head = (
            bytes([0x80 | opcode, 0x80 | size])
            if size < 126
            else struct.pack("!BBH", 0x80 | opcode, 0xFE, size)
        )
        assert self._transport is not None, "it is connected"
        self._transport.write(head + bytes(4) + payload)


def _parse(data: bytearray) -> tuple[int, bytes, int] | None:
    """The opcode, the payload and the size of the first frame; None where it is not all there."""
    if len(data) < 2:
        return None
    size, start = data[1], 2
    if size == 126:
        if len(data) < 4:
            return None
        (size,), start = struct.unpack_from("!H", data, 2), 4
    elif size == 127:
        if len(data) < 10:
            return None
        (size,), start = struct.unpack_from("!Q", data, 2), 10
    if len(data) < start + size:
        return None
    return data[0] & 0x0F, bytes(data[start : start + size]), start + size


if __name__ == "__main__":
    file_descriptors.raise_limit()
    uvloop.run(Crowd(msgspec.json.decode(sys.argv[1], type=Plan)).live())

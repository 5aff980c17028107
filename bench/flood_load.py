"""The clients of `bench.flood`, in their own process: one that floods, and one with ordinary requests.

    python -m bench.flood_load '{"port": ..., "kind": "pings", "seconds": 8, "bytes_per_second": 1000000}'

It prints one line of JSON, and ends after `seconds`.
"""

from __future__ import annotations

import asyncio
import base64
import sys
import time
from contextlib import suppress

import msgspec
import uvloop
from msgspec import Struct

BLOCK_BYTES = 10_000
PAUSE_SECONDS = 0.01
"""The pause between two ordinary requests."""
ANSWER_SECONDS = 10.0
"""The time-out of a request, which is then counted with this latency."""

_LAST = 0x80


def _frame(opcode: int, payload: bytes = b"") -> bytes:
    return bytes([opcode, 0x80 | len(payload)]) + bytes(4) + payload


KINDS: dict[str, tuple[bytes, bytes]] = {
    "nothing": (b"", b""),
    "pings": (b"", _frame(_LAST | 0x9, b"{}")),
    "pongs": (b"", _frame(_LAST | 0xA, b"{}")),
    "texts": (b"", _frame(_LAST | 0x1, b"{}")),
    "empty parts": (_frame(0x1), _frame(0x0)),
    "connections": (b"", b""),
}
"""The first and the repeated bytes of each kind of flood; `connections` only opens connections."""


class Flood(Struct, frozen=True):
    """The kind, rate and duration of a flood."""

    port: int
    kind: str
    seconds: float
    bytes_per_second: float


class FloodResult(Struct, frozen=True):
    """The latency of the ordinary requests, and the bytes that the flood sent."""

    answers: int
    p50_milliseconds: float
    p99_milliseconds: float
    sent_bytes: int
    closed_after_seconds: float | None
    """When the daemon closed the flooding connection."""


class _Flooder:
    def __init__(self, flood: Flood) -> None:
        self._flood = flood
        self.sent_bytes = 0
        self.closed_after_seconds: float | None = None

    async def run(self) -> None:
        if self._flood.kind == "nothing":
            return
        if self._flood.kind == "connections":
            await self._connect_again_and_again()
            return
        started = time.monotonic()
        with suppress(OSError):
            await self._send_again_and_again(started)
        self.closed_after_seconds = time.monotonic() - started

    async def _send_again_and_again(self, started: float) -> None:
        """Send until the connection is closed."""
        first, again = KINDS[self._flood.kind]
        block = again * (BLOCK_BYTES // len(again))
        reader, writer = await asyncio.open_connection("127.0.0.1", self._flood.port)
        drained = asyncio.create_task(_drain(reader))
        key = base64.b64encode(bytes(16)).decode()
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
            + first
        )
        try:
            while not writer.is_closing():
                writer.write(block)
                await writer.drain()
                self.sent_bytes += len(block)
                ahead = self.sent_bytes / self._flood.bytes_per_second - (time.monotonic() - started)
                await asyncio.sleep(max(0.0, ahead))
        finally:
            drained.cancel()
            writer.close()

    async def _connect_again_and_again(self) -> None:
        held = []
        while True:
            try:
                held.append(await asyncio.open_connection("127.0.0.1", self._flood.port))
            except OSError:
                await asyncio.sleep(PAUSE_SECONDS)
            if len(held) > 500:
                for _, writer in held:
                    writer.close()
                held.clear()


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(1_000_000):
        pass


async def _ask(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
    try:
        writer.write(b"GET /api/markets?limit=20 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await reader.read()
    finally:
        writer.close()


async def flooded(flood: Flood) -> FloodResult:
    """Flood, and send ordinary requests at the same time."""
    flooder = _Flooder(flood)
    flooding = asyncio.create_task(flooder.run())
    waited: list[float] = []
    ends = time.monotonic() + flood.seconds
    while time.monotonic() < ends:
        asked = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await _ask(flood.port)
        except OSError:  # TimeoutError is an OSError
            pass
        waited.append((time.monotonic() - asked) * 1_000)
        await asyncio.sleep(PAUSE_SECONDS)
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)
    waited.sort()
    return FloodResult(
        answers=len(waited),
        p50_milliseconds=waited[len(waited) // 2],
        p99_milliseconds=waited[len(waited) * 99 // 100],
        sent_bytes=flooder.sent_bytes,
        closed_after_seconds=flooder.closed_after_seconds,
    )


if __name__ == "__main__":
    result = uvloop.run(flooded(msgspec.json.decode(sys.argv[1], type=Flood)))
    print(msgspec.json.encode(result).decode())

"""The clients of `bench.http`, in their own process, which repeat one request.

    python -m bench.read_load '{"port": ..., "path": "/api/markets", ...}'

It prints `ready`, waits for a line on its standard input, sends requests, and prints one line of JSON. Its
HTTP client is minimal, so that it costs a fraction of the server's CPU time.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import cast

import click
import msgspec
import uvloop
from msgspec import Struct

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length: "


class ReadPlan(Struct, frozen=True):
    """The request, the number of persistent connections, and the duration."""

    port: int
    path: str
    connections: int
    seconds: float
    headers: dict[str, str] = {}
    core: int | None = None
    """The CPU core to run on."""
    sleeps: bool = False
    """Whether it leaves its core to others while it waits."""

    def encode(self) -> bytes:
        """The HTTP request."""
        headers = {"Host": f"127.0.0.1:{self.port}", "Accept": "*/*"} | self.headers
        lines = [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([f"GET {self.path} HTTP/1.1", *lines, "", ""]).encode()


class ReadResult(Struct, frozen=True):
    """The result. `others` counts answers with another status than 200 and 304."""

    answers: int
    others: int
    body_bytes: int
    seconds: float
    p50_milliseconds: float
    p99_milliseconds: float

    @property
    def per_second(self) -> float:
        return self.answers / self.seconds


class _Reader(asyncio.Protocol):
    """Repeats the request after each answer."""

    def __init__(self, request: bytes, until: float) -> None:
        self.latencies: list[float] = []
        self.others = 0
        self.body_bytes = 0
        self.done = asyncio.get_running_loop().create_future()
        self._request = request
        self._until = until
        self._received = b""
        self._asked = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(_END_OF_HEAD)
        if end < 0:
            return
        head = self._received[:end].lower()
        start = head.find(_LENGTH)
        length = int(head[start + len(_LENGTH) :].split(b"\r\n", 1)[0]) if start >= 0 else 0
        if len(self._received) < end + len(_END_OF_HEAD) + length:
            return
        now = time.perf_counter()
        self.latencies.append(now - self._asked)
        self.others += head[9:12] not in (b"200", b"304")
        self.body_bytes = length
        self._received = b""
        if now < self._until:
            self._ask()
        else:
            self._finish()

    def connection_lost(self, error: Exception | None) -> None:
        self._finish()

    def _ask(self) -> None:
        assert self._transport is not None
        self._asked = time.perf_counter()
        self._transport.write(self._request)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def ask(plan: ReadPlan) -> ReadResult:
    """Send requests until the time is over."""
    loop = asyncio.get_running_loop()
    request = plan.encode()
    started = time.perf_counter()
    readers = []
    for _ in range(plan.connections):
        transport, reader = await loop.create_connection(
            lambda: _Reader(request, started + plan.seconds), "127.0.0.1", plan.port
        )
        readers.append((transport, reader))
    done = asyncio.gather(*(reader.done for _, reader in readers))
    await (done if plan.sleeps else _stay_awake(done))
    elapsed = time.perf_counter() - started
    for transport, _ in readers:
        transport.close()
    latencies = sorted(latency for _, reader in readers for latency in reader.latencies)
    return ReadResult(
        answers=len(latencies),
        others=sum(reader.others for _, reader in readers),
        body_bytes=max(reader.body_bytes for _, reader in readers),
        seconds=elapsed,
        p50_milliseconds=_quantile(latencies, 0.50) * 1000,
        p99_milliseconds=_quantile(latencies, 0.99) * 1000,
    )


async def _stay_awake(done: asyncio.Future[list[None]]) -> None:
    """Wait without sleeping. To wake a sleeping core costs the process that does it, so a slow server would
    pay for each answer what a fast one does not.
    """
    while not done.done():  # noqa: ASYNC110 - it must not sleep
        await asyncio.sleep(0)
    await done


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


@click.command()
@click.argument("plan_json")
def main(plan_json: str) -> None:
    """Send the requests of PLAN_JSON."""
    plan = msgspec.json.decode(plan_json, type=ReadPlan)
    if plan.core is not None:
        os.sched_setaffinity(0, {plan.core})
    print("ready", flush=True)
    sys.stdin.readline()
    print(msgspec.json.encode(uvloop.run(ask(plan))).decode(), flush=True)


if __name__ == "__main__":
    main()

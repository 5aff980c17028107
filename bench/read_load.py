"""The other side of the wire, in a process of its own: callers who ask for the same thing again and again.

    python -m bench.read_load '{"port": ..., "path": "/api/markets", ...}'

It prints `ready`, waits for a line on its standard input, asks, and prints one line of JSON. It speaks just
enough HTTP to cost a fraction of what answers it.
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


class Question(Struct, frozen=True):
    """What to ask, over how many connections that stay open, and for how long."""

    port: int
    path: str
    connections: int
    seconds: float
    headers: dict[str, str] = {}
    core: int | None = None
    """The core to run on."""

    def encode(self) -> bytes:
        """The request as bytes on the wire."""
        lines = [f"GET {self.path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", "Accept: */*"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()


class Answered(Struct, frozen=True):
    """How it went. `others` counts answers whose status was neither 200 nor 304."""

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
    """Asks again as soon as it is answered."""

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


async def ask(question: Question) -> Answered:
    """Ask until the time is over."""
    loop = asyncio.get_running_loop()
    request = question.encode()
    started = time.perf_counter()
    readers = []
    for _ in range(question.connections):
        transport, reader = await loop.create_connection(
            lambda: _Reader(request, started + question.seconds), "127.0.0.1", question.port
        )
        readers.append((transport, reader))
    await _awake(asyncio.gather(*(reader.done for _, reader in readers)))
    elapsed = time.perf_counter() - started
    for transport, _ in readers:
        transport.close()
    latencies = sorted(latency for _, reader in readers for latency in reader.latencies)
    return Answered(
        answers=len(latencies),
        others=sum(reader.others for _, reader in readers),
        body_bytes=max(reader.body_bytes for _, reader in readers),
        seconds=elapsed,
        p50_milliseconds=_quantile(latencies, 0.50) * 1000,
        p99_milliseconds=_quantile(latencies, 0.99) * 1000,
    )


async def _awake(done: asyncio.Future[list[None]]) -> None:
    """Wait without ever sleeping: waking another core costs the process that does it, and a slow server would
    have to pay for it with each answer while a fast one finds its callers awake.
    """
    while not done.done():  # noqa: ASYNC110 - being awake is what it is for
        await asyncio.sleep(0)
    await done


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


@click.command()
@click.argument("question_json")
def main(question_json: str) -> None:
    """Ask what QUESTION_JSON says."""
    question = msgspec.json.decode(question_json, type=Question)
    if question.core is not None:
        os.sched_setaffinity(0, {question.core})
    print("ready", flush=True)
    sys.stdin.readline()
    print(msgspec.json.encode(uvloop.run(ask(question))).decode(), flush=True)


if __name__ == "__main__":
    main()

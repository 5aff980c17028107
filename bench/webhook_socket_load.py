"""The client of `bench.webhook_socket`, in its own process.

    python -m bench.webhook_socket_load PLAN_JSON

It subscribes to all markets, prints `ready`, waits for a line on its standard input, posts deliveries of one
trade each at a steady rate, and prints a line of JSON: how long each took from the first byte of the POST to
the frame of its trade.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from itertools import islice
from typing import Any

import click
import msgspec
import uvloop
from msgspec import Struct

from bench.synthetic_history import SyntheticHistory, delivery
from bench.ws_load import PING, PONG

_SIGNATURE = re.compile(rb'"signature":"([1-9A-HJ-NP-Za-km-z]{64,88})"')
_LONGEST = 120
_PATIENCE_SECONDS = 30.0


class SocketPlan(Struct, frozen=True):
    """Where to send what: `opening` are the bytes with which the WebSocket begins, a character for each."""

    port: int
    authorization: str
    opening: str
    deliveries: int
    per_second: float
    seed: int
    markets: int
    wallets: int


class SocketResult(Struct, frozen=True):
    """Milliseconds of each trade that arrived, and of each answer to a POST; how many did not arrive."""

    socket_milliseconds: list[float]
    answer_milliseconds: list[float]
    missing: int


async def measure(plan: SocketPlan) -> SocketResult:
    """Deliver as the plan says, and wait for the frames of all trades."""
    seen: dict[str, float] = {}
    sent: dict[str, float] = {}
    answers: list[float] = []
    ws_reader, ws_writer = await asyncio.open_connection("127.0.0.1", plan.port, limit=2**22)
    ws_writer.write(plan.opening.encode("latin-1"))
    got = b""
    while b"Subscribed" not in got:
        got += await ws_reader.read(65_536)
    watching = asyncio.create_task(_watch(ws_reader, ws_writer, seen))
    history = SyntheticHistory(plan.seed, plan.markets, plan.wallets)
    for _ in history.openings():
        pass  # these are indexed already
    trades = [
        (_signature(one), delivery([one])) for one in islice(history.trades(plan.deliveries), plan.deliveries)
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", plan.port)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    started = time.monotonic()
    for number, (signature, body) in enumerate(trades):
        await asyncio.sleep(max(started + number / plan.per_second - time.monotonic(), 0))
        sent[signature] = time.monotonic()
        writer.write(
            f"POST /helius/webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Authorization: {plan.authorization}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(_content_length(head))
        answers.append(1_000 * (time.monotonic() - sent[signature]))
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while sent.keys() - seen.keys() and time.monotonic() < give_up:  # noqa: ASYNC110 - a bench may look
        await asyncio.sleep(0.02)
    watching.cancel()
    writer.close()
    ws_writer.close()
    took = [1_000 * (seen[one] - at) for one, at in sent.items() if one in seen]
    return SocketResult(took, answers, len(sent) - len(took))


async def _watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: dict[str, float]) -> None:
    """Note when the signature of a trade comes first. Frames are not taken apart: it stands in their text."""
    rest = b""
    while data := await reader.read(65_536):
        now = time.monotonic()
        if PING in data:
            writer.write(PONG)
        rest += data
        for found in _SIGNATURE.finditer(rest):
            seen.setdefault(found[1].decode(), now)
        rest = rest[-_LONGEST:]


def _signature(transaction: bytes) -> str:
    raw: dict[str, Any] = msgspec.json.decode(transaction)
    return str(raw["transaction"]["signatures"][0])


def _content_length(head: bytes) -> int:
    found = re.search(rb"(?i)content-length: (\d+)", head)
    return 0 if found is None else int(found[1])


@click.command()
@click.argument("plan_json")
def main(plan_json: str) -> None:
    """Deliver as PLAN_JSON says."""
    result = uvloop.run(measure(msgspec.json.decode(plan_json, type=SocketPlan)))
    print(msgspec.json.encode(result).decode(), flush=True)


if __name__ == "__main__":
    main()

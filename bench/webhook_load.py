"""The webhook client of `bench.indexer`, in its own process.

    python -m bench.webhook_load PLAN_JSON

It prepares the deliveries, prints `ready`, waits for a line on its standard input, delivers, and prints one
line of JSON. Its HTTP client is minimal, so that it costs little CPU time.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import click
import msgspec
import uvloop
from msgspec import Struct

from bench.synthetic_history import SyntheticHistory, delivery

_TARGET = "/helius/webhook"


class DeliveryPlan(Struct, frozen=True):
    """The deliveries to send. `per_second` 0: as fast as the daemon answers."""

    port: int
    authorization: str
    size: int
    """The transactions in each delivery."""
    deliveries: int
    concurrency: int
    seed: int
    markets: int
    wallets: int
    seconds: float
    """When to stop, even if deliveries are left."""
    per_second: float = 0.0


class DeliveryResult(Struct, frozen=True):
    """The result. `refused` counts answers other than 200."""

    deliveries: int
    refused: int
    seconds: float
    p50_milliseconds: float
    p99_milliseconds: float


@dataclass
class _Tally:
    """The latencies of the answers, in seconds."""

    latencies: list[float] = field(default_factory=list)
    refused: int = 0


def requests(plan: DeliveryPlan) -> Iterator[bytes]:
    """The HTTP requests of the plan."""
    history = SyntheticHistory(plan.seed, plan.markets, plan.wallets)
    for _ in history.openings():
        pass  # these are indexed already
    trades = history.trades(plan.size * plan.deliveries)
    for _ in range(plan.deliveries):
        body = delivery(list(islice(trades, plan.size)))
        head = (
            f"POST {_TARGET} HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\nContent-Type: application/json\r\n"
            f"Authorization: {plan.authorization}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        yield head.encode() + body


async def deliver(plan: DeliveryPlan, given: Iterator[bytes]) -> DeliveryResult:
    """Deliver over `plan.concurrency` persistent connections."""
    tally = _Tally()
    started = time.monotonic()
    await asyncio.gather(*(_connection(plan, given, started, tally) for _ in range(plan.concurrency)))
    elapsed = time.monotonic() - started
    ordered = sorted(tally.latencies)
    return DeliveryResult(
        deliveries=len(ordered) - tally.refused,
        refused=tally.refused,
        seconds=elapsed,
        p50_milliseconds=_quantile(ordered, 0.50) * 1000,
        p99_milliseconds=_quantile(ordered, 0.99) * 1000,
    )


async def _connection(plan: DeliveryPlan, given: Iterator[bytes], started: float, tally: _Tally) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", plan.port, limit=2**20)
    try:
        for request in given:
            if plan.per_second:
                due = started + len(tally.latencies) / plan.per_second
                await asyncio.sleep(max(due - time.monotonic(), 0))
            if time.monotonic() - started > plan.seconds:
                return
            sent = time.monotonic()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_content_length(head))
            tally.latencies.append(time.monotonic() - sent)
            tally.refused += not head.startswith(b"HTTP/1.1 200")
    finally:
        writer.close()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


@click.command()
@click.argument("plan_json")
def main(plan_json: str) -> None:
    """Send the deliveries of PLAN_JSON."""
    plan = msgspec.json.decode(plan_json, type=DeliveryPlan)
    # Deliveries at a limited rate may take long, so they are made while they are sent.
    given = requests(plan) if plan.per_second else iter(list(requests(plan)))
    print("ready", flush=True)
    sys.stdin.readline()
    print(msgspec.json.encode(uvloop.run(deliver(plan, given))).decode(), flush=True)


if __name__ == "__main__":
    main()

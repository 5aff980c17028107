"""From a webhook delivery to the frame of its trade on a WebSocket, for `bench.ws --only webhook`."""

from __future__ import annotations

import msgspec

from bench.figures import Figure
from bench.servers import AUTHORIZATION, second_process
from bench.webhook_socket_load import SocketPlan, SocketResult

DELIVERIES = 1_000
PER_SECOND = 50.0


async def webhook_to_socket(
    port: int, opening: bytes, *, seed: int, markets: int, wallets: int
) -> list[Figure]:
    """Of deliveries of one trade each to a daemon that has nothing else to do."""
    plan = SocketPlan(
        port, AUTHORIZATION, opening.decode("latin-1"), DELIVERIES, PER_SECOND, seed, markets, wallets
    )
    async with second_process("bench.webhook_socket_load", msgspec.json.encode(plan).decode()) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        process.stdin.write(b"go\n")
        result = msgspec.json.decode(await process.stdout.readline(), type=SocketResult)
    socket, answers = sorted(result.socket_milliseconds), sorted(result.answer_milliseconds)
    lost = f"{len(socket)} of {DELIVERIES} arrived"
    return [
        Figure(f"webhook to socket, {PER_SECOND:g} trades/s: p50", _at(socket, 0.5), "ms",
               note=f"goal: ≤ 8; {lost}"),
        Figure("  p95", _at(socket, 0.95), "ms"),
        Figure("  p99", _at(socket, 0.99), "ms"),
        Figure("  POST to 200, p50", _at(answers, 0.5), "ms"),
        Figure("  p99", _at(answers, 0.99), "ms"),
    ]  # fmt: skip


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0

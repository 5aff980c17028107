"""Measures what it costs to tell many clients of one market, compared with writing the same bytes.

    python -m bench.ws [--clients N] [--messages N] [--rate R] [--json]

It starts Postgres, Valkey, a synthetic Solana node and a daemon on one core, and clients in a second process
on another core. It prints a table and one line of JSON, and asserts nothing.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import click
import msgspec
import uvloop

from bench.cpu_affinity import on_core
from bench.figures import Figure, print_figures
from bench.servers import HistorySize, listening, second_process, servers
from bench.synthetic_history import IDL, SyntheticHistory
from bench.ws_load import Seen, Watch, WatchPlan
from zmartd import config, daemon, log
from zmartd.chain.codec import Codec
from zmartd.chain.transactions import parse_transaction
from zmartd.clock import SystemClock
from zmartd.core import Core, open_core
from zmartd.http.kit import keys
from zmartd.market.fees import TradeFees
from zmartd.realtime.frames import Broadcast
from zmartd.realtime.messages import Message, TradeExecuted
from zmartd.store import markets
from zmartd.store.streams import StreamPosition

SEED = 21
ROUNDS = 3
FIRST_SEQ = 1_000_000
"""Numbers of as many digits make frames of as many bytes."""
_AT = datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)
_SUBSCRIBED = '"subscriptions"'


class Bench:
    """One market, its subscribers, and as many connections that are only written to."""

    def __init__(
        self, core: Core, port: int, market_id: str, epoch: str, clients: int, other_core: int
    ) -> None:
        self._core = core
        self._port = port
        self._market_id = market_id
        self._epoch = epoch
        self._clients = clients
        self._seq = FIRST_SEQ
        self._other_core = other_core
        self._raw: set[asyncio.Transport] = set()

    async def measured(self, messages: int, rate: float) -> list[Figure]:
        """The CPU of a frame, and how long the last of all clients waits for it."""
        opening = _upgrade() + _client_frame(f'{{"action":"subscribe","market_id":"{self._market_id}"}}')
        costs: list[tuple[float, float]] = []
        waits: list[float] = []
        async with (
            self._watchers(self._port, opening.decode("latin-1"), _SUBSCRIBED) as clients,
            self._raw_server() as raw_port,
            self._watchers(raw_port, "", "") as raw,
        ):
            for _ in range(ROUNDS):
                batch = [self._next() for _ in range(messages)]
                frame_bytes = len(Broadcast(batch[0]).frame(self._market_id, signed_in=False))
                watch = Watch(messages, frame_bytes)
                hub_cost, waited = await self._told(clients, watch, batch, rate, self._publish)
                raw_cost, _ = await self._told(raw, watch, batch, rate, self._write)
                costs.append((hub_cost, raw_cost))
                waits += waited
        hub_cost, raw_cost = min(costs)
        waits.sort()
        return [
            Figure(
                f"one frame to each of {self._clients} clients",
                1e6 / hub_cost, "frames/s of CPU", 1e6 / raw_cost, 0.95,
                f"floor: {frame_bytes} bytes written to as many transports",
            ),
            Figure(f"  at {rate:g} messages/s: of a core", hub_cost * self._clients * rate / 1e6, "",
                   note="the daemon's CPU, with its reading from Redis"),
            Figure("  p50 of the last client", waits[len(waits) // 2] * 1e3, "ms", note="from PUBLISH"),
            Figure("  p99 of the last client", waits[int(len(waits) * 0.99)] * 1e3, "ms"),
        ]  # fmt: skip

    async def _told(
        self,
        watchers: asyncio.subprocess.Process,
        watch: Watch,
        batch: list[Message],
        rate: float,
        tell: Callable[[Message], Awaitable[None]],
    ) -> tuple[float, list[float]]:
        """The CPU of a frame in microseconds, and the seconds until each message was everywhere."""
        assert watchers.stdin is not None
        assert watchers.stdout is not None
        watchers.stdin.write(msgspec.json.encode(watch) + b"\n")
        await watchers.stdout.readline()
        before, told, next_at = time.process_time(), [], time.monotonic()
        for message in batch:
            told.append(time.monotonic())
            await tell(message)
            next_at += 1 / rate
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))
        seen = msgspec.json.decode(await watchers.stdout.readline(), type=Seen)
        spent = time.process_time() - before
        waited = [arrived - at for arrived, at in zip(seen.arrived, told, strict=True)]
        return spent / len(batch) / self._clients * 1e6, waited

    async def _publish(self, message: Message) -> None:
        await self._core.publisher.publish([message])

    async def _write(self, message: Message) -> None:
        frame = Broadcast(message).frame(self._market_id, signed_in=False)
        for transport in self._raw:
            transport.write(frame)

    def _next(self) -> Message:
        self._seq += 1
        trade = TradeExecuted(
            trade_id="4" * 88 + ":0", trade_type="buy", outcome=True, shares=10**9, cost_lamports=10**9,
            amount_lamports=9 * 10**8, fees=TradeFees(5 * 10**7, 3 * 10**7, 2 * 10**7, 10**8),
            price_yes_before=5 * 10**8, price_yes=51 * 10**7,
            user_wallet="FZ5Wc8bmBZ4Jt5BGy8e1CVxXQz2dCcFKQmYLBMBJdMYX", signature="4" * 88, slot=300_000_000,
        )  # fmt: skip
        return Message(self._market_id, trade, _AT, "confirmed", StreamPosition(self._epoch, self._seq))

    @asynccontextmanager
    async def _watchers(
        self, port: int, opening: str, ready_after: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        plan = WatchPlan(port, self._clients, opening, ready_after)
        async with second_process("bench.ws_load", msgspec.json.encode(plan).decode()) as process:
            os.sched_setaffinity(process.pid, {self._other_core})
            assert process.stdout is not None
            await process.stdout.readline()
            yield process

    @asynccontextmanager
    async def _raw_server(self) -> AsyncIterator[int]:
        server = await asyncio.get_running_loop().create_server(lambda: _Raw(self._raw), "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]


class _Raw(asyncio.Protocol):
    """A connection that is only written to."""

    def __init__(self, connected: set[asyncio.Transport]) -> None:
        self._connected = connected
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connected.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._connected.discard(self._transport)


def _upgrade() -> bytes:
    return (
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )


def _client_frame(text: str) -> bytes:
    """A masked text frame of less than 126 bytes; the mask is zero."""
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text.encode()


async def _open_market(core: Core) -> tuple[str, str]:
    """A market with trades, and the epoch; its stream goes on after FIRST_SEQ."""
    history = SyntheticHistory(SEED, 1, 5)
    parsed = [
        parse_transaction(msgspec.json.decode(one), IDL.program_id, Codec(IDL))
        for one in [*history.openings(), *history.trades(5)]
    ]
    await core.indexer.apply(parsed)
    async with core.database.service() as connection:
        market_id: str = await connection.fetchval("select id from markets limit 1")
        await connection.execute("update streams set seq = $1", FIRST_SEQ)
        market = await markets.get(connection, market_id)
    assert market.stream_position is not None, "it was read alone"
    return market_id, market.stream_position.epoch


async def measure(directory: Path, clients: int, messages: int, rate: float) -> list[Figure]:
    """All figures, with servers of their own."""
    async with servers(directory, HistorySize(SEED, 1, 5)) as surroundings:
        settings = surroundings.settings
        settings = msgspec.structs.replace(
            settings,
            server=msgspec.structs.replace(settings.server, max_connections_per_ip=clients + 16),
            realtime=config.RealtimeSettings(max_connections_per_ip=clients + 16),
        )
        async with open_core(settings, SystemClock()) as core:
            market_id, epoch = await _open_market(core)
            app = daemon.application(core)
            async with listening(app, backlog=clients) as port:
                await app[keys.HUB].listening()
                cores = os.sched_getaffinity(0)
                with on_core(min(cores)):
                    bench = Bench(core, port, market_id, epoch, clients, max(cores))
                    return await bench.measured(messages, rate)


@click.command()
@click.option("--clients", type=click.IntRange(1, 10_000), default=1_000, show_default=True)
@click.option("--messages", type=click.IntRange(10, 100_000), default=200, show_default=True)
@click.option("--rate", type=click.FloatRange(1, 1_000), default=50, show_default=True, help="A second.")
@click.option("--json", "only_json", is_flag=True, help="Print JSON only.")
def main(clients: int, messages: int, rate: float, only_json: bool) -> None:
    """Measure how a message reaches many WebSocket clients, beside writing the same bytes."""
    with tempfile.TemporaryDirectory(prefix="zmartd-bench-") as directory, open(os.devnull, "w") as nowhere:
        log.configure("warning", "json", nowhere)
        Path(directory).chmod(0o711)  # Postgres may run as another user
        figures = uvloop.run(measure(Path(directory), clients, messages, rate))
    print_figures(figures, only_json=only_json)


if __name__ == "__main__":
    main()

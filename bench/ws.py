"""Measures what it costs to tell many clients of one market, compared with writing the same bytes.

    python -m bench.ws [--clients N] [--messages N] [--rate R] [--idle N] [--returning N] [--json]
    python -m bench.ws --only webhook [--json]

The second measures how long a trade takes from its webhook delivery to a client.

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
from bench.idle_connections import idle_connections, watching
from bench.reconnects import frame, reconnects
from bench.servers import HistorySize, listening, servers
from bench.stream_positions import stream_positions
from bench.synthetic_history import IDL, SyntheticHistory
from bench.webhook_socket import webhook_to_socket
from bench.ws_load import Seen, Watch, WatchPlan
from zmartd import config, daemon, log
from zmartd.chain.codec import Codec
from zmartd.chain.transactions import parse_transaction
from zmartd.clock import SystemClock
from zmartd.core import Core, open_core
from zmartd.http.kit import keys
from zmartd.http.server import file_descriptors
from zmartd.market.fees import TradeFees
from zmartd.realtime.frames import Broadcast
from zmartd.realtime.messages import Message, TradeExecuted
from zmartd.store import markets
from zmartd.store.streams import StreamPosition

SEED = 21
ROUNDS = 3
SINGLE_RATE = 8.0
"""So many times a second, each message is written alone."""
TOGETHER = 16
MARKETS = 5
WEBHOOK_MARKETS, WEBHOOK_WALLETS = 200, 2_000
FIRST_SEQ = 1_000_000
"""Numbers of as many digits make frames of as many bytes."""
_AT = datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)
_SUBSCRIBED = '"subscriptions"'


class Bench:
    """One market, its subscribers, and as many connections that are only written to."""

    def __init__(
        self, core: Core, port: int, market_id: str, position: StreamPosition, clients: int, other_core: int
    ) -> None:
        self._core = core
        self._port = port
        self._market_id = market_id
        self._epoch = position.epoch
        self._clients = clients
        self._seq = position.seq
        self._other_core = other_core
        self._frame_bytes = 0
        self._raw: set[asyncio.Transport] = set()

    async def measured(self, messages: int, rate: float) -> list[Figure]:
        """The CPU of a frame, and how long the last of all clients waits for it."""
        opening = upgrade() + subscribe(self._market_id)
        async with (
            self._watchers(self._port, opening.decode("latin-1"), _SUBSCRIBED) as clients,
            self._raw_server() as raw_port,
            self._watchers(raw_port, "", "") as raw,
        ):
            single, single_floor, _ = await self._compared(clients, raw, messages // 4, 1, SINGLE_RATE)
            together, together_floor, _ = await self._compared(clients, raw, messages, TOGETHER, SINGLE_RATE)
            usual, _, waits = await self._compared(clients, raw, messages, 1, rate)
        waits.sort()
        return [
            Figure(
                f"one frame to each of {self._clients} clients",
                1e6 / single, "frames/s of CPU", 1e6 / single_floor, 0.95,
                f"floor: {self._frame_bytes} bytes written to as many transports",
            ),
            Figure(
                f"{TOGETHER} frames at once to each of them",
                1e6 / together, "frames/s of CPU", 1e6 / together_floor, None,
                f"goal: ≥ 1 000 000; floor: as above, {TOGETHER} times as many bytes",
            ),
            Figure(f"{rate:g} messages/s to {self._clients} clients: of a core",
                   usual * self._clients * rate / 1e6, "",
                   note="goal: ≤ 0.15; the daemon's CPU, with its reading from Redis"),
            Figure("  p50 of the last client", waits[len(waits) // 2] * 1e3, "ms", note="from PUBLISH"),
            Figure("  p99 of the last client", waits[int(len(waits) * 0.99)] * 1e3, "ms", note="goal: ≤ 60"),
        ]  # fmt: skip

    async def _compared(
        self,
        clients: asyncio.subprocess.Process,
        raw: asyncio.subprocess.Process,
        messages: int,
        at_once: int,
        rate: float,
    ) -> tuple[float, float, list[float]]:
        """The CPU of a frame in microseconds, the daemon's and the floor, and the seconds that each took."""
        costs: list[tuple[float, float]] = []
        waits: list[float] = []
        for _ in range(ROUNDS):
            batches = [[self._next() for _ in range(at_once)] for _ in range(max(1, messages // at_once))]
            self._frame_bytes = len(Broadcast(batches[0][0]).frame(self._market_id, signed_in=False))
            watch = Watch(len(batches) * at_once, self._frame_bytes)
            hub_cost, waited = await self._told(clients, watch, batches, rate, self._publish)
            raw_cost, _ = await self._told(raw, watch, batches, rate, self._write)
            costs.append((hub_cost, raw_cost))
            waits += waited
        return *min(costs), waits

    async def _told(
        self,
        watchers: asyncio.subprocess.Process,
        watch: Watch,
        batches: list[list[Message]],
        rate: float,
        tell: Callable[[list[Message]], Awaitable[None]],
    ) -> tuple[float, list[float]]:
        """The CPU of a frame in microseconds, and the seconds until each message was everywhere."""
        assert watchers.stdin is not None
        assert watchers.stdout is not None
        watchers.stdin.write(msgspec.json.encode(watch) + b"\n")
        await watchers.stdout.readline()
        before, told, next_at = time.process_time(), list[float](), time.monotonic()
        for batch in batches:
            told += [time.monotonic()] * len(batch)
            await tell(batch)
            next_at += 1 / rate
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))
        seen = msgspec.json.decode(await watchers.stdout.readline(), type=Seen)
        spent = time.process_time() - before
        waited = [arrived - at for arrived, at in zip(seen.arrived, told, strict=True)]
        return spent / len(told) / self._clients * 1e6, waited

    async def _publish(self, messages: list[Message]) -> None:
        await self._core.publisher.publish(messages)

    async def _write(self, messages: list[Message]) -> None:
        frames = [Broadcast(one).frame(self._market_id, signed_in=False) for one in messages]
        joined = b"".join(frames)
        for transport in self._raw:
            transport.write(joined)

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
        async with watching(plan, self._other_core) as process:
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


def upgrade() -> bytes:
    """The request of a handshake."""
    return (
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )


def subscribe(market_id: str) -> bytes:
    return frame({"action": "subscribe", "market_id": market_id})


async def _open_markets(core: Core, history: SyntheticHistory) -> list[str]:
    """Markets with trades, whose streams go on after FIRST_SEQ, each after another number."""
    parsed = [
        parse_transaction(msgspec.json.decode(one), IDL.program_id, Codec(IDL))
        for one in [*history.openings(), *history.trades(5)]
    ]
    await core.indexer.apply(parsed)
    async with core.database.service() as connection:
        await connection.execute("update streams set seq = $1 + 10000 * id", FIRST_SEQ)
        return [row["id"] for row in await connection.fetch("select id from markets order by id")]


async def _position(core: Core, market_id: str) -> StreamPosition:
    """Where the stream of a market is."""
    async with core.database.service() as connection:
        return (await markets.get(connection, market_id)).stream_position


async def measure(
    directory: Path, clients: int, messages: int, rate: float, idle: int, returning: int
) -> list[Figure]:
    """All figures, with servers of their own."""
    async with servers(directory, HistorySize(SEED, MARKETS, 5)) as surroundings:
        settings, most = surroundings.settings, max(clients, idle, returning) + 16
        settings = msgspec.structs.replace(
            settings,
            server=msgspec.structs.replace(
                settings.server, max_connections=most * 6 // 5, max_connections_per_ip=most
            ),
            realtime=config.RealtimeSettings(max_connections_per_ip=most, max_messages_per_minute=1_000_000),
        )
        file_descriptors.raise_limit()
        async with open_core(settings, SystemClock()) as core:
            history = SyntheticHistory(SEED, MARKETS, 5)
            market_ids = await _open_markets(core, history)
            app = daemon.application(core)
            async with listening(app, backlog=4_096) as port:
                await app[keys.HUB].listening()
                daemon.tune_garbage_collection()
                cores = os.sched_getaffinity(0)
                with on_core(min(cores)):
                    opening = upgrade() + b"".join(map(subscribe, market_ids))
                    last = f"Subscribed to market {market_ids[-1]}"
                    waiting = await idle_connections(port, idle, opening, last, max(cores))
                    returned = await reconnects(core, history, port, upgrade(), returning, max(cores))
                    # Last, because the database knows nothing of what it publishes.
                    position = await _position(core, market_ids[0])
                    bench = Bench(core, port, market_ids[0], position, clients, max(cores))
                    figures = await bench.measured(messages, rate)
                return figures + waiting + returned + await stream_positions(core, history)


async def measure_webhook(directory: Path) -> list[Figure]:
    """How long trades take from a webhook delivery to a WebSocket, with servers of their own."""
    size = HistorySize(SEED, WEBHOOK_MARKETS, WEBHOOK_WALLETS)
    async with (
        servers(directory, size) as surroundings,
        open_core(surroundings.settings, SystemClock()) as core,
    ):
        history = SyntheticHistory(SEED, WEBHOOK_MARKETS, WEBHOOK_WALLETS)
        await core.indexer.apply(
            [
                parse_transaction(msgspec.json.decode(one), IDL.program_id, Codec(IDL))
                for one in history.openings()
            ]
        )
        app = daemon.application(core)
        async with listening(app) as port:
            await app[keys.HUB].listening()
            daemon.tune_garbage_collection()
            return await webhook_to_socket(
                port, upgrade() + subscribe("*"), seed=SEED, markets=WEBHOOK_MARKETS, wallets=WEBHOOK_WALLETS
            )


@click.command()
@click.option("--only", type=click.Choice(["webhook"]), help="Measure only this.")
@click.option("--clients", type=click.IntRange(1, 10_000), default=1_000, show_default=True)
@click.option("--messages", type=click.IntRange(10, 100_000), default=200, show_default=True)
@click.option("--rate", type=click.FloatRange(1, 1_000), default=50, show_default=True, help="A second.")
@click.option("--idle", type=click.IntRange(100, 60_000), default=18_000, show_default=True)
@click.option("--returning", type=click.IntRange(100, 20_000), default=10_000, show_default=True)
@click.option("--json", "only_json", is_flag=True, help="Print JSON only.")
def main(
    only: str | None, clients: int, messages: int, rate: float, idle: int, returning: int, only_json: bool
) -> None:
    """Measure how a message reaches many WebSocket clients, beside writing the same bytes."""
    with tempfile.TemporaryDirectory(prefix="zmartd-bench-") as directory, open(os.devnull, "w") as nowhere:
        log.configure("warning", "json", nowhere)
        Path(directory).chmod(0o711)  # Postgres may run as another user
        measured = (
            measure_webhook(Path(directory))
            if only
            else measure(Path(directory), clients, messages, rate, idle, returning)
        )
        figures = uvloop.run(measured)
    print_figures(figures, only_json=only_json)


if __name__ == "__main__":
    main()

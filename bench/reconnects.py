"""What it costs when all clients come back at once and go on where they were: after a restart, say."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast

import msgspec

from bench.figures import Figure
from bench.reconnect_load import Storm, StormPlan
from bench.servers import second_process
from bench.synthetic_history import IDL, SyntheticHistory
from zmartd.chain.codec import Codec
from zmartd.chain.transactions import parse_transaction
from zmartd.core import Core
from zmartd.store.streams import StreamPosition

SECONDS = 5.0
ADDRESSES = 4
MISSED_TRADES = 10


async def reconnects(
    core: Core, history: SyntheticHistory, port: int, upgrade: bytes, clients: int, other_core: int
) -> list[Figure]:
    """Clients that have missed the same trades on all markets connect within SECONDS, and go on.

    The daemon runs in this process; the clients run on `other_core`.
    """
    before = await _positions(core)
    parsed = [
        parse_transaction(msgspec.json.decode(one), IDL.program_id, Codec(IDL))
        for one in history.trades(MISSED_TRADES)
    ]
    await core.indexer.apply(parsed)
    newest = max((await _positions(core)).items(), key=lambda item: item[1].seq)
    channels = [
        {"channel": stream, "since": {"epoch": since.epoch, "seq": since.seq}}
        for stream, since in sorted(before.items(), key=lambda item: item[0] == newest[0])
    ]
    opening = upgrade + frame({"action": "subscribe", "channels": channels})
    plan = StormPlan(port, clients, SECONDS, opening.decode("latin-1"), f'"seq":{newest[1].seq}', ADDRESSES)
    queries = await _transactions(core)
    storm, spent = await _storm(plan, other_core)
    queries = await _transactions(core) - queries
    async with _answering(storm.received_bytes // clients, len(opening)) as floor_port:
        floor_plan = msgspec.structs.replace(plan, port=floor_port, last="\n")
        floor, floor_spent = await _storm(floor_plan, other_core)
    size = storm.received_bytes // clients
    return [
        Figure(f"{clients} clients come back in {SECONDS:g} s and go on: p50", _p(storm, 50), "ms",
               note=f"bare transports, {size} bytes to each: {_p(floor, 50):.1f} ms"),
        Figure("  p99", _p(storm, 99), "ms", note=f"goal: ≤ 1 000; bare transports: {_p(floor, 99):.1f} ms"),
        Figure("  served", clients / spent, "clients/s of CPU", clients / floor_spent,
               note="floor: accept, read, and write as many bytes"),
        Figure("  lost their connection before", storm.lost, "",
               note="the system holds at most 4 096 that the daemon has not accepted"),
        Figure("  transactions in Postgres meanwhile", queries, "", note="goal: none for a client"),
    ]  # fmt: skip


def frame(message: Mapping[str, object]) -> bytes:
    """A message as the frame of a client; its mask is zero."""
    text = msgspec.json.encode(message)
    length = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + text


async def _storm(plan: StormPlan, core: int) -> tuple[Storm, float]:
    """What the clients say, and the CPU seconds of this process meanwhile."""
    began = time.process_time()
    async with second_process("bench.reconnect_load", msgspec.json.encode(plan).decode()) as process:
        os.sched_setaffinity(process.pid, {core})
        assert process.stdout is not None
        storm = msgspec.json.decode(await process.stdout.read(), type=Storm)
        return storm, time.process_time() - began


async def _positions(core: Core) -> dict[str, StreamPosition]:
    """The positions of the markets' streams, by their names."""
    async with core.database.service() as connection:
        rows = await connection.fetch(
            "select name, zmartd.stream_epoch() as epoch, seq from streams where name like 'market:%'"
        )
    return {row["name"]: StreamPosition(row["epoch"], row["seq"]) for row in rows}


async def _transactions(core: Core) -> int:
    """How many transactions Postgres has committed."""
    async with core.database.service() as connection:
        await connection.execute("select pg_stat_clear_snapshot()")
        count = await connection.fetchval(
            "select xact_commit from pg_stat_database where datname = current_database()"
        )
    return cast("int", count)


@asynccontextmanager
async def _answering(size: int, request_bytes: int) -> AsyncIterator[int]:
    """A server that answers a request of so many bytes with `size` bytes; its port."""
    answer = b"." * (size - 1) + b"\n"
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Answering(answer, request_bytes), "127.0.0.1", 0, backlog=4_096
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


class _Answering(asyncio.Protocol):
    def __init__(self, answer: bytes, request_bytes: int) -> None:
        self._answer, self._missing = answer, request_bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._missing -= len(data)
        if self._missing == 0:
            self._transport.write(self._answer)


def _p(storm: Storm, percent: int) -> float:
    """A percentile of what the clients waited, in milliseconds."""
    return storm.waited[len(storm.waited) * percent // 100] * 1e3

"""What many WebSocket connections cost while nothing happens."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from bench.figures import Figure
from bench.servers import second_process
from bench.ws_load import WatchPlan

ADDRESSES = 4
SECONDS = 50.0
"""Two rounds of pings."""
ALONE_SECONDS = 10.0


@asynccontextmanager
async def watching(plan: WatchPlan, core: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process on `core` with the connections of a plan, which are ready."""
    async with second_process("bench.ws_load", msgspec.json.encode(plan).decode()) as process:
        os.sched_setaffinity(process.pid, {core})
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process


async def idle_connections(
    port: int, connections: int, opening: bytes, ready_after: str, core: int
) -> list[Figure]:
    """The memory and CPU of connections that send `opening`, and nothing after their pongs.

    The daemon runs in this process; the clients run on `core`.
    """
    await asyncio.sleep(1)
    alone, before = await _share_of_core(ALONE_SECONDS), _resident_bytes()
    plan = WatchPlan(port, connections, opening.decode("latin-1"), ready_after, ADDRESSES)
    began = time.process_time()
    async with watching(plan, core):
        spent = time.process_time() - began
        await asyncio.sleep(1)
        grown = _resident_bytes() - before
        share = await _share_of_core(SECONDS)
    return [
        Figure("an idle connection, five subscriptions: memory", grown / connections / 1024, "KiB",
               note="goal: ≤ 4; growth of RSS"),
        Figure(f"{connections} of them: of a core", share, "",
               note=f"goal: ≤ 0.03; the daemon without any: {alone:.3f}"),
        Figure("  opened and subscribed", connections / spent, "connections/s of CPU"),
    ]  # fmt: skip


async def _share_of_core(seconds: float) -> float:
    """The CPU time of this process in a second, measured for so long."""
    cpu, began = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    return (time.process_time() - cpu) / (time.monotonic() - began)


def _resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

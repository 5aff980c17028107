"""What the server process of a connection costs."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
from asyncpg import Connection

TICKS: Final = os.sysconf("SC_CLK_TCK")


class Backend:
    """A connection whose server process is measured."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._stat = Path(f"/proc/{connection.get_server_pid()}/stat")

    def cpu_seconds(self) -> float:
        """What it has used so far, in user and in system mode (proc(5), utime and stime)."""
        fields = self._stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    async def cost(self, work: Callable[[], Awaitable[Any]]) -> tuple[float, float]:
        """Seconds of its processor, and seconds by the clock, that this takes."""
        used, begun = self.cpu_seconds(), time.monotonic()
        await work()
        return self.cpu_seconds() - used, time.monotonic() - begun


@asynccontextmanager
async def backend_of(dsn: str, *settings: str) -> AsyncIterator[Backend]:
    """A connection with these settings, for the length of a block."""
    connection = await asyncpg.connect(dsn, statement_cache_size=100)
    try:
        for one in settings:
            await connection.execute(f"set {one}")
        yield Backend(connection)
    finally:
        await connection.close()

"""A way to Postgres that a test can cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.ports import free_port

SOCKET = ".s.PGSQL.5432"
HERE = "127.0.0.1"
COMMIT = b"COMMIT\0"
"""What asyncpg sends at the end of a transaction."""


class Cable:
    """Passes connections on to the socket or the port of a real server until it is cut.

    It only copies, so that TLS is between both ends. A certificate that is verified has to name this machine.
    """

    def __init__(self, url: str, directory: Path) -> None:
        split = urlsplit(url)
        self._far_host, self._far_port, self._near_port = split.hostname, split.port, free_port()
        if self._far_port is None:
            self.url = split._replace(query=urlencode({"host": str(directory)})).geturl()
            self._far_end = Path(parse_qs(split.query)["host"][0]) / SOCKET
        else:
            login = split.netloc.rpartition("@")[0]
            self.url = split._replace(netloc=f"{login}@{HERE}:{self._near_port}").geturl()
        self._near_end = directory / SOCKET
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._commits_left: int | None = None

    def cut_after_commits(self, commits: int) -> None:
        """Be cut once so many transactions from now are committed, before the last one's answer arrives."""
        self._commits_left = commits

    async def lay(self) -> None:
        if self._far_port is None:
            self._server = await asyncio.start_unix_server(self._connect, self._near_end)
        else:
            self._server = await asyncio.start_server(self._connect, HERE, self._near_port)

    async def cut(self) -> None:
        """End every connection, and let nobody in any more."""
        assert self._server is not None
        self._server.close()
        self._near_end.unlink(missing_ok=True)
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await (
            asyncio.open_unix_connection(self._far_end)
            if self._far_port is None
            else asyncio.open_connection(self._far_host, self._far_port)
        )
        self._writers += [writer, far_writer]
        passage = _Passage()
        await asyncio.gather(
            self._copy(reader, far_writer, partial(self._asked, passage)),
            self._copy(far_reader, writer, partial(self._answered, passage)),
        )

    async def _asked(self, passage: _Passage, data: bytes) -> bool:
        if self._commits_left is not None and COMMIT in data:
            self._commits_left -= 1
            passage.is_last = self._commits_left == 0
        return True

    async def _answered(self, passage: _Passage, _data: bytes) -> bool:
        if passage.is_last:
            self._commits_left = None
            await self.cut()
        return not passage.is_last

    async def _copy(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        passes: Callable[[bytes], Awaitable[bool]],
    ) -> None:
        try:
            while (data := await source.read(65_536)) and await passes(data):
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()


class _Passage:
    """One connection through the cable."""

    is_last = False
    """Whether the cable is to be cut when the present statement of this connection is answered."""


@asynccontextmanager
async def laid_cable(url: str, directory: Path) -> AsyncIterator[Cable]:
    cable = Cable(url, directory)
    await cable.lay()
    try:
        yield cable
    finally:
        await cable.cut()

"""A way to Postgres that a test can cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.ports import free_port

SOCKET = ".s.PGSQL.5432"
HERE = "127.0.0.1"


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
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))


@asynccontextmanager
async def laid_cable(url: str, directory: Path) -> AsyncIterator[Cable]:
    cable = Cable(url, directory)
    await cable.lay()
    try:
        yield cable
    finally:
        await cable.cut()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()

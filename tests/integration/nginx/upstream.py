"""What stands in for daemons where a test has to see what nginx sends, or to break in the middle."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno"
NOTHING = b""
"""The connection is closed, as when a daemon is killed."""


class Upstream:
    """`async with Upstream(answer) as upstream:` answers each request so, on a port of this machine."""

    def __init__(self, answer: bytes = OK) -> None:
        self.answer = answer
        self.heads: list[list[str]] = []
        """The lines of the heads that came, oldest first, the request line as the first one."""
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        assert self._server is not None, "it listens"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def asked(self) -> list[str]:
        """The request lines that came."""
        return [head[0] for head in self.heads]

    def headers(self) -> dict[str, str]:
        """Those of the newest request, by their names in lower case."""
        pairs = (line.split(": ", 1) for line in self.heads[-1][1:])
        return {name.lower(): value for name, value in pairs}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Refuse connections, and close those that are open."""
        assert self._server is not None, "it listens"
        self._server.close()
        for writer in self._connections:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = head.removesuffix("\r\n\r\n").split("\r\n")
                self.heads.append(lines)
                length = self.headers().get("content-length", "0")
                await reader.readexactly(int(length))
                if not self.answer:
                    return
                writer.write(self.answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._connections.discard(writer)
            writer.close()

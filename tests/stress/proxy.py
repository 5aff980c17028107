"""A door to a server, which can be shut, jammed and slammed while somebody is passing through."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.ports import free_port

_CHUNK = 65_536

COMMIT = b"COMMIT\0"
"""What asyncpg sends at the end of a transaction."""


class _Passage:
    """One client's connection through the door."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._writers = (client, server)
        self.cut_at_answer = False

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


class Proxy:
    """Listens on 127.0.0.1 and passes everything on to a server behind a Unix socket.

    `socket` is where that is at the moment, for it moves when the server starts again; None while it is down.
    """

    def __init__(self, socket: Callable[[], Path | None]) -> None:
        self._socket = socket
        self._passages: set[_Passage] = set()
        self._clear = asyncio.Event()
        self._clear.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._cuts = 0
        self._cut_text = b""
        self._cut_late = False
        self.port = free_port()
        self.connections_cut = 0

    async def open(self) -> None:
        """Listen, at the same port as ever, if it does not listen anyway."""
        if self._server is not None:
            return
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Let nobody in, and throw out who is inside, until it is opened again."""
        assert self._server is not None
        self._server.close()
        self._server = None
        self.cut()

    async def close(self) -> None:
        if self._server is not None:
            await self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hang(self) -> None:
        """Take everything, and pass nothing on."""
        self._clear.clear()

    def go_on(self) -> None:
        """Pass on what has been held up."""
        self._clear.set()

    def cut(self) -> None:
        """Cut all connections where they are."""
        for passage in list(self._passages):
            self._cut(passage)

    def cut_at(self, text: bytes, times: int, *, after_it_is_done: bool) -> None:
        """Cut the next connections that send `text`: before it gets through, or when it is answered."""
        self._cut_text, self._cuts, self._cut_late = text, times, after_it_is_done

    def spare(self) -> None:
        """Cut nothing any more."""
        self._cuts = 0

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        socket = self._socket()
        try:
            if socket is None:
                raise ConnectionRefusedError
            answers, server = await asyncio.open_unix_connection(socket)
        except OSError:
            writer.transport.abort()
            self._tasks.discard(task)
            return
        passage = _Passage(writer, server)
        self._passages.add(passage)
        try:
            pumps = (
                asyncio.create_task(self._pump(reader, server, lambda data: self._asked(passage, data))),
                asyncio.create_task(self._pump(answers, writer, lambda _: self._answered(passage))),
            )
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            passage.cut()
            self._passages.discard(passage)
            self._tasks.discard(task)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, passes: Callable[[bytes], bool]
    ) -> None:
        with suppress(OSError):
            while data := await source.read(_CHUNK):
                await self._clear.wait()
                if not passes(data):
                    return
                sink.write(data)
                await sink.drain()

    def _asked(self, passage: _Passage, data: bytes) -> bool:
        if self._cuts == 0 or self._cut_text not in data:
            return True
        self._cuts -= 1
        if self._cut_late:
            passage.cut_at_answer = True
            return True
        self._cut(passage)
        return False

    def _answered(self, passage: _Passage) -> bool:
        if passage.cut_at_answer:
            self._cut(passage)
            return False
        return True

    def _cut(self, passage: _Passage) -> None:
        self.connections_cut += 1
        passage.cut()

"""Postgres with TLS: what takes connections over TLS, as Postgres does, and passes them on to its socket."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_REQUEST = bytes.fromhex("0000000804d2162f")
"""SSLRequest, the first message of a client that wants TLS."""


@asynccontextmanager
async def tls_front(socket: Path, certificate: Path) -> AsyncIterator[int]:
    """The port on 127.0.0.1 at which it listens. The key of `certificate` is beside it, as `.key`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            assert await reader.readexactly(len(_REQUEST)) == _REQUEST
            writer.write(b"S")
            await writer.start_tls(context)
            answers, server = await asyncio.open_unix_connection(socket)
            await asyncio.gather(_copy(reader, server), _copy(answers, writer))

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield listener.sockets[0].getsockname()[1]


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()

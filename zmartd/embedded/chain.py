"""A localnet in its own process, so that executing transactions does not block the daemon."""

from __future__ import annotations

import os
import signal
import sys
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from zmartd import config
from zmartd.embedded.localnet.settings import Endpoints, LocalnetSettings
from zmartd.embedded.server_process import ServerProcess

PROGRAM_ID = config.SolanaSettings().program_id
PROGRAM_FILE = Path(str(files("zmartd.embedded") / "programs" / "zmart_core.so"))
START_SECONDS = 60.0
STOP_SECONDS = 10.0


def chain_settings(directory: Path, rpc_port: int, *, slot_milliseconds: int = 400) -> LocalnetSettings:
    """The settings of a localnet with the zmart_core program on it."""
    return LocalnetSettings(
        data_directory=directory,
        rpc_port=rpc_port,
        slot_milliseconds=slot_milliseconds,
        programs={PROGRAM_ID: PROGRAM_FILE},
    )


class EmbeddedChain:
    """`async with EmbeddedChain(settings) as chain:` runs a localnet at `chain.endpoints`.

    Its ledger, log and settings are in the settings' data directory. The kernel stops it when the thread that
    started it ends or this process is killed, so start it from the main thread.
    """

    def __init__(self, settings: LocalnetSettings) -> None:
        directory = settings.data_directory.resolve()
        self._settings = msgspec.structs.replace(settings, data_directory=directory)
        self._settings_file = directory / "settings.json"
        self._endpoints_file = directory / "endpoints.json"
        self._server = ServerProcess("The localnet", directory / "localnet.log")
        self._endpoints: Endpoints | None = None

    @property
    def endpoints(self) -> Endpoints:
        """Its addresses, while it runs."""
        assert self._endpoints is not None, "the localnet has not been started"
        return self._endpoints

    @property
    def pid(self) -> int:
        """Its process id, while it runs."""
        return self._server.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it and wait until it answers. Raises EmbeddedServerError."""
        self._settings.data_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._endpoints_file.unlink(missing_ok=True)
        self._settings_file.touch(mode=0o600)
        self._settings_file.write_bytes(msgspec.json.encode(self._settings, enc_hook=str))
        self._server.start(
            [
                sys.executable,
                "-m",
                "zmartd.embedded.localnet",
                str(self._settings_file),
                str(self._endpoints_file),
            ],
            orphaned=signal.SIGTERM,
            environment={
                "PATH": os.defpath,
                "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            },
        )
        await self._server.until(self._is_ready, START_SECONDS)
        self._endpoints = msgspec.json.decode(self._endpoints_file.read_bytes(), type=Endpoints)

    async def stop(self) -> None:
        """Stop it. The ledger is kept."""
        await self._server.stop(signal.SIGTERM, signal.SIGKILL, timeout_seconds=STOP_SECONDS)

    async def _is_ready(self) -> bool:
        return self._endpoints_file.exists()

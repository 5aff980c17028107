"""A localnet in a process of its own, to be killed."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from zmartd.embedded.localnet import Endpoints

START_SECONDS = 120
_PROGRAM = """
import asyncio, pathlib, sys
import msgspec
from zmartd.embedded.localnet import LocalnetSettings, serve

def announce(endpoints):
    print(msgspec.json.encode(endpoints).decode(), flush=True)

settings = LocalnetSettings(pathlib.Path(sys.argv[1]), rpc_port=0, slot_milliseconds=int(sys.argv[2]))
asyncio.run(serve(settings, ready=announce, stop=asyncio.Event()))
"""


@asynccontextmanager
async def localnet_process(
    directory: Path, slot_milliseconds: int, ledger_bytes_limit: int | None = None
) -> AsyncIterator[Endpoints]:
    """A serving localnet; it is killed with SIGKILL when the block ends. No file of it passes the limit."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM, str(directory), str(slot_milliseconds)),
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=None if ledger_bytes_limit is None else partial(_limit_files, ledger_bytes_limit),
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            while not (line := await process.stdout.readline()).startswith(b"{"):
                assert line, "the localnet ended before it was ready"
        yield msgspec.json.decode(line, type=Endpoints)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


def _limit_files(largest_bytes: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write that is too long fails, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_bytes, largest_bytes))

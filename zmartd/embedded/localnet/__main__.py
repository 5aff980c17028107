"""A localnet as a process: `python -m zmartd.embedded.localnet SETTINGS ENDPOINTS`.

SETTINGS is a file with `LocalnetSettings` as JSON. ENDPOINTS is written, as JSON, when the localnet is ready.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from zmartd import log
from zmartd.embedded.localnet.server import serve
from zmartd.embedded.localnet.settings import Endpoints, LocalnetSettings
from zmartd.errors import ZmartdError


def main(settings_file: str, endpoints_file: str) -> int:
    """Run until SIGTERM or SIGINT. The exit status is 1 when it cannot start, with the reason on stderr."""
    log.configure("info", "console")
    settings = msgspec.json.decode(Path(settings_file).read_bytes(), type=LocalnetSettings, dec_hook=_path)
    try:
        asyncio.run(_run(settings, Path(endpoints_file)))
    except ZmartdError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


async def _run(settings: LocalnetSettings, endpoints_file: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def announce(endpoints: Endpoints) -> None:
        draft = endpoints_file.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(endpoints))
        os.replace(draft, endpoints_file)

    await serve(settings, ready=announce, stop=stop)


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"{kind} is not a setting's type")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

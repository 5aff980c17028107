"""Commands of zmartd in processes of their own, which begin with everything imported.

Importing takes most of the second that a short command lasts. So a process imports it once, and every command
is a fork of it. What a command itself imports, and when, is for tests that start it as its users do.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from zmartd.cli import main

_SECONDS: Final = 600
_IMPORTED: Final = (
    __name__,
    "zmartd.core",
    "zmartd.doctor.check",
    "zmartd.store.backup.programs",
    "uvloop",
)
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(list(_IMPORTED))


class Ended(Struct, frozen=True):
    """How a command ended, and what it said on both ways."""

    status: int
    output: str
    errors: str


async def run_command(arguments: tuple[str, ...], environment: Mapping[str, str], directory: Path) -> Ended:
    """Run `zmartd` with these arguments, with nobody at its input.

    `directory`: where it runs. Raises TimeoutError.
    """
    kept = [directory / f".{name}" for name in ("output", "errors")]
    process = _forks.Process(target=_command, args=(arguments, dict(environment), directory, *kept))
    process.start()
    try:
        await asyncio.to_thread(process.join, _SECONDS)
        if process.exitcode is None:
            raise TimeoutError(f"zmartd {' '.join(arguments)} goes on")
        output, errors = (path.read_text() for path in kept)
        return Ended(process.exitcode, output, errors)
    finally:
        process.kill()
        for path in kept:
            path.unlink(missing_ok=True)


def _command(
    arguments: tuple[str, ...], environment: dict[str, str], directory: Path, output: Path, errors: Path
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    for path, number in ((output, 1), (errors, 2)):
        with path.open("w") as kept:
            os.dup2(kept.fileno(), number)
    main(arguments, prog_name="zmartd")

"""Postgres' own programs `pg_dump` and `pg_restore`: which to take, and how they are run without a password.

A program dumps and restores what is not newer than itself, and what an older one writes is read by an older
server. So the oldest one is taken that is new enough.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from msgspec import Struct

from zmartd.errors import ZmartdError

DUMP: Final = "pg_dump"
RESTORE: Final = "pg_restore"
_DEBIAN: Final = Path("/usr/lib/postgresql")
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
_VERSION_SECONDS: Final = 30
_LAST_LINES: Final = 20
_STOP_SECONDS: Final = 10.0
_MAX_LINE_BYTES: Final = 1_048_576
_PASSWORDS: Final = frozenset({"password", "sslpassword"})


class ProgramsMissing(ZmartdError):
    """There is no pg_dump or pg_restore that is new enough."""

    code = "postgres_programs_missing"


class ProgramFailed(Exception):
    """A program ended with an error; the text is the last that it said."""


class Programs(Struct, frozen=True):
    """A directory with both programs, of one major version."""

    directory: Path
    major: int

    def path(self, name: str) -> str:
        return str(self.directory / name)


def find_programs(at_least: int, configured: str, others: Iterable[Path] = ()) -> Programs:
    """The oldest programs of this major version of Postgres or a later one.

    `configured` is the directory to take them from; if it is empty, they are looked for on the PATH, where
    Debian has them, and in `others`. Raises ProgramsMissing, which names those that were found.
    """
    found = [
        Programs(directory, major)
        for directory in ([Path(configured)] if configured else _directories(others))
        if (major := _major(directory)) is not None
    ]
    suitable = [one for one in found if one.major >= at_least]
    if suitable:
        return min(suitable, key=lambda one: one.major)
    known = "; ".join(f"{one.directory} has version {one.major}" for one in found) or "none was found"
    raise ProgramsMissing(
        f"pg_dump and pg_restore of Postgres {at_least} or later are needed, and {known}: install "
        f"postgresql-client-{at_least}, or let database.programs name the directory that has them"
    )


def _directories(others: Iterable[Path]) -> Iterator[Path]:
    debian = sorted(_DEBIAN.glob("*/bin")) if _DEBIAN.is_dir() else []
    yield from debian
    on_path = shutil.which(DUMP)
    if on_path:
        # Debian's own command chooses a version by itself.
        place = Path(on_path)
        if place.resolve().name == DUMP:
            yield place.resolve().parent
        elif not debian:
            yield place.parent
    yield from others


def _major(directory: Path) -> int | None:
    """The version of both programs in a directory; None where one is missing or does not run."""
    versions = set()
    for name in (DUMP, RESTORE):
        try:
            done = subprocess.run(  # noqa: S603 - looked for in directories of the operator's
                [directory / name, "--version"],
                capture_output=True,
                text=True,
                timeout=_VERSION_SECONDS,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        match = _VERSION.search(done.stdout)
        versions.add(int(match[1]) if match else None)
    return versions.pop() if len(versions) == 1 else None


class Target(Struct, frozen=True):
    """How libpq connects: a URL without a password, and the environment that has it."""

    url: str
    environment: Mapping[str, str]


def target_of(dsn: str) -> Target:
    """The target of a connection URL. Everybody on the machine may read the command line of a process, so the
    password is not in the URL; only the user who runs it may read the environment.

    Raises ProgramsMissing for a URL whose password cannot be given in the environment.
    """
    parts = urlsplit(dsn)
    user_and_password, at, hosts = parts.netloc.rpartition("@")
    user, colon, password = user_and_password.partition(":")
    query = parse_qsl(parts.query, keep_blank_values=True)
    secrets = {name: value for name, value in query if name in _PASSWORDS}
    if colon:
        secrets.setdefault("password", unquote(password))
    if "sslpassword" in secrets:
        raise ProgramsMissing(
            "database.url has an sslpassword, which pg_dump takes from its command line only, where "
            "everybody could read it: name a key without a password"
        )
    options = urlencode([(name, value) for name, value in query if name not in _PASSWORDS])
    url = urlunsplit((parts.scheme, f"{user}{at}{hosts}", parts.path, options, ""))
    if not parts.netloc and not url.startswith(f"{parts.scheme}://"):
        url = url.replace(f"{parts.scheme}:", f"{parts.scheme}://", 1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZMARTD_")}
    environment |= {"LC_ALL": "C", "PGAPPNAME": "zmartd-backup"}
    if "password" in secrets:
        environment["PGPASSWORD"] = secrets["password"]
    return Target(url, environment)


async def run_program(
    command: Sequence[str], environment: Mapping[str, str], heard: Callable[[str], None]
) -> None:
    """Run a program to its end, and pass it each line that it says on stderr.

    It is stopped when this is cancelled. Raises ProgramFailed.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        limit=_MAX_LINE_BYTES,
        start_new_session=True,  # a Ctrl-C reaches this process, which stops it in order
    )
    assert process.stderr is not None
    last: deque[str] = deque(maxlen=_LAST_LINES)
    try:
        async for line in process.stderr:
            text = line.decode(errors="replace").rstrip()
            last.append(text)
            heard(text)
        status = await process.wait()
    finally:
        if process.returncode is None:
            await _stop(process)
    if status:
        raise ProgramFailed(_said(last))


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    except TimeoutError:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _said(lines: Iterable[str]) -> str:
    """What of a program's last lines is about the error."""
    errors = [line for line in lines if ": error:" in line or ": fatal:" in line or "detail:" in line]
    return (
        "; ".join(line.partition(": ")[2] or line for line in errors) or "; ".join(lines) or "no reason given"
    )

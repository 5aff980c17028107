"""PgBouncer, the transaction pooler that tests put in front of Postgres.

It is the installed one, or else Debian's package, unpacked into a directory of the user: that needs apt, but
no root. Where neither is to be had, tests that need it are skipped and say so.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from zmartd.embedded.postgres import UNPRIVILEGED_USER, USER, EmbeddedPostgres
from zmartd.embedded.server_process import ServerProcess
from zmartd.embedded.sockets import socket_directory

_PORT = 5432
"""Postgres' own, so that a directory is all that is to be known of either's socket."""
_START_SECONDS = 120.0
_STOP_SECONDS = 10.0
_DOWNLOAD_SECONDS = 300
_LIBRARY = re.compile(r"^\s*Depends: (lib(?!c6$)\S+)$", re.MULTILINE)


class NoPgBouncer(Exception):
    """There is no PgBouncer here, and it cannot be downloaded; the text says why."""


class PgBouncer:
    """`async with PgBouncer(directory, server) as pooler:` pools connections to the server's databases.

    It listens on a private Unix socket only, and asks nobody for a password.
    """

    def __init__(self, directory: Path, server: EmbeddedPostgres, **settings: str) -> None:
        """`settings` are those of pgbouncer.ini. Raises NoPgBouncer."""
        self._program, self._libraries = _program()
        self._directory = directory
        self._server = server
        self._settings = {"pool_mode": "transaction"} | settings
        self._process = ServerProcess("PgBouncer", directory / "pgbouncer.log")
        self._sockets: Path | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def url_of(self, database: str, user: str = USER) -> str:
        """The connection URL of a database of the server, through the pooler."""
        return f"postgresql://{user}@/{quote(database)}?{urlencode({'host': str(self._sockets)})}"

    async def start(self) -> None:
        """Start it. Raises EmbeddedServerError."""
        # Like Postgres it does not run as root, and Postgres' socket is private to this user.
        uid = pwd.getpwnam(UNPRIVILEGED_USER).pw_uid if os.geteuid() == 0 else None
        self._directory.mkdir(parents=True, exist_ok=True)
        self._sockets = socket_directory(self._directory, os.geteuid() if uid is None else uid)
        configuration = self._sockets / "pgbouncer.ini"
        configuration.write_text(self._configuration(self._sockets))
        self._process.start(
            [str(self._program), str(configuration)],
            orphaned=signal.SIGKILL,
            environment={"LC_ALL": "C", "PATH": os.defpath, "LD_LIBRARY_PATH": self._libraries},
            uid=uid,
        )
        await self._process.until(self._listens, _START_SECONDS)

    async def stop(self) -> None:
        """Stop it, with all connections."""
        await self._process.stop(signal.SIGTERM, signal.SIGKILL, timeout_seconds=_STOP_SECONDS)
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def _configuration(self, sockets: Path) -> str:
        """The text of pgbouncer.ini. Users that `auth_query` finds in Postgres are let in."""
        (server,) = parse_qs(urlsplit(self._server.dsn).query)["host"]
        users = sockets / "users"
        users.write_text(f'"{USER}" ""\n')
        settings = {
            "unix_socket_dir": str(sockets),
            "listen_port": str(_PORT),
            "auth_type": "trust",
            "auth_file": str(users),
            "auth_user": USER,
            "auth_query": "select rolname, '' from pg_roles where rolname = $1",
            "max_client_conn": "500",
            "server_login_retry": "1",
        } | self._settings
        lines = [f"{name} = {value}" for name, value in settings.items()]
        return "\n".join(["[databases]", f"* = host={server}", "[pgbouncer]", *lines, ""])

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(f"{self._sockets}/.s.PGSQL.{_PORT}")
        except OSError:
            return False
        writer.close()
        return True


@cache
def _program() -> tuple[Path, str]:
    """The program, and the directories of its libraries. Raises NoPgBouncer."""
    installed = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if installed:
        return Path(installed), ""
    unpacked = Path(tempfile.gettempdir()) / f"zmartd-tests-{os.geteuid()}" / "pgbouncer"
    program = unpacked / "usr" / "sbin" / "pgbouncer"
    if not program.exists():
        try:
            _unpack(unpacked)
        except (OSError, subprocess.SubprocessError) as error:
            if not program.exists():  # nor has another run unpacked it meanwhile
                raise NoPgBouncer(f"PgBouncer is not installed, nor can apt download it: {error}") from error
    return program, ":".join(map(str, (unpacked / "usr" / "lib").glob("*-linux-gnu*")))


def _unpack(directory: Path) -> None:
    """Download Debian's package with the libraries that it needs, and unpack them into `directory`."""
    directory.parent.mkdir(mode=0o755, exist_ok=True)
    if directory.parent.lstat().st_uid != os.geteuid():
        raise PermissionError(f"{directory.parent} belongs to another user")
    with tempfile.TemporaryDirectory(dir=directory.parent) as name:
        work = Path(name)
        for part in ("state/lists/partial", "cache/archives/partial"):
            (work / part).mkdir(parents=True)
        apt = (
            "-o",
            f"Dir::State={work}/state",
            "-o",
            f"Dir::Cache={work}/cache",
            "-o",
            "APT::Sandbox::User=",
        )
        _run(work, "apt-get", *apt, "update")
        dependencies = _run(work, "apt-cache", *apt, "depends", "pgbouncer")
        _run(work, "apt-get", *apt, "download", "pgbouncer", *_LIBRARY.findall(dependencies))
        unpacked = work / "unpacked"
        unpacked.mkdir(mode=0o755)
        for package in work.glob("*.deb"):
            _run(work, "dpkg-deb", "-x", str(package), str(unpacked))
        unpacked.chmod(0o755)
        unpacked.rename(directory)


def _run(directory: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=directory, check=True, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS
    )
    return done.stdout

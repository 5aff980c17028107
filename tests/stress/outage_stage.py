"""The stage of `tests.stress.outages`: a whole system whose daemon is as patient as by default, the people
who use it, and its operator.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import asyncpg
import msgspec
from solders.keypair import Keypair

from tests.stress.system import Daemon, System
from zmartd import config
from zmartd.config_values import PostgresUrl

LOGIN = "zmartd_login"
FIRST_PASSWORD = "a/pass:word@with#signs%"
DISK_BYTES = 400 * 2**20
POLL_SECONDS = 0.1
DELIVERY: Final[list[dict[str, Any]]] = [{"transaction": {"signatures": []}}]
"""What has to be written down, though nothing can be read in it."""
ANSWER_SECONDS = 3.0
"""How long an operator waits for an answer."""


class Look(msgspec.Struct, frozen=True):
    """What the two health checks say at one moment."""

    public: int
    """The status of the public one; 0 where nobody answers."""
    answered: bool
    """Whether the operator's answers."""
    failing: dict[str, str]
    """What it says of each check that is not ok."""

    @property
    def is_well(self) -> bool:
        return self.answered and self.public == 200 and not self.failing


class OutageSystem(System):
    """A `System` whose daemon logs in with a password, as a role that is no superuser."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, [])
        self.password = FIRST_PASSWORD

    def _settings(self, daemon: Daemon) -> config.Settings:
        settings, defaults, replace = super()._settings(daemon), config.Settings(), msgspec.structs.replace
        url = (
            f"postgresql://{LOGIN}:{quote(self.password, safe='')}@127.0.0.1:{self.database_door.port}"
            "/zmartd?sslmode=disable"
        )
        return replace(
            settings,
            database=replace(defaults.database, url=PostgresUrl(url)),
            solana=replace(settings.solana, timeout_seconds=defaults.solana.timeout_seconds),
            log=config.LogSettings(level="info", format="json"),
        )

    @property
    def webhook_secret(self) -> str:
        return self._settings(self.daemon).helius.authorization.reveal()

    async def _start_daemon(self, daemon: Daemon, stack: AsyncExitStack) -> None:
        await self.administer(
            f"create role {LOGIN} login password '{self.password}'",
            f"grant anon, authenticated, service_role to {LOGIN}",
        )
        rules = self.directory / "postgres" / "data" / "pg_hba.conf"
        rules.write_text(f"local all {LOGIN} scram-sha-256\n{rules.read_text()}")
        await self.administer("select pg_reload_conf()")
        await super()._start_daemon(daemon, stack)

    async def administer(self, *statements: str) -> None:
        """Run statements as the superuser, who needs no password."""
        connection = await asyncpg.connect(self.postgres.dsn)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    def token(self) -> str:
        """A session's."""
        return self.tokens().issue(str(Keypair().pubkey()), int(time.time()))[0]


class Operator:
    """Looks at both health checks and at the log, and asks what users and the webhook ask."""

    def __init__(self, system: OutageSystem, session: aiohttp.ClientSession) -> None:
        self._system = system
        self._session = session
        self._log_position = 0
        self._signed_in = {"Authorization": f"Bearer {system.token()}", "Cache-Control": "no-cache"}

    async def look(self) -> Look:
        public, report = await asyncio.gather(self.status("GET", "/health"), self.report())
        checks = {} if report is None else report["checks"]
        failing = {
            name: check.get("message", "") for name, check in checks.items() if check["status"] == "error"
        }
        return Look(public, report is not None, failing)

    async def until(self, seen: Callable[[Look], bool], seconds: float) -> tuple[float, Look]:
        """How long until `seen` holds, and for what; infinity where it does not within `seconds`."""
        began = time.monotonic()
        while True:
            asked = time.monotonic()
            found = await self.look()
            if seen(found):
                return time.monotonic() - began, found
            if asked - began > seconds:
                return float("inf"), found
            await asyncio.sleep(POLL_SECONDS)

    async def status(self, method: str, path: str, **options: Any) -> int:
        """The status of an answer; 0 where there is none in time."""
        try:
            async with self._session.request(method, self._system.api + path, **options) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, OSError):
            return 0

    async def usage(self) -> dict[str, int]:
        """What users and the webhook get at this moment."""
        delivery = {"Authorization": self._system.webhook_secret}
        asked = {
            "from memory": self.status("GET", "/api/openapi.json"),
            "from Postgres": self.status("GET", "/api/markets", headers={"Cache-Control": "no-cache"}),
            "signed in": self.status("GET", "/api/trades/history", headers=self._signed_in),
            "webhook": self.status("POST", "/helius/webhook", json=DELIVERY, headers=delivery),
        }
        return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))

    async def burst(self, number: int) -> list[int]:
        """The statuses of so many requests at once of somebody who is signed in."""
        return await asyncio.gather(
            *(self.status("GET", "/api/trades/history", headers=self._signed_in) for _ in range(number))
        )

    async def report(self) -> dict[str, Any] | None:
        """The operator's health check; None where nobody answers in time."""
        try:
            async with self._session.get(f"{self._system.daemon.operator_url}/health") as response:
                report: dict[str, Any] = await response.json()
                return report
        except (aiohttp.ClientError, OSError, ValueError):
            return None

    async def metric(self, line: str) -> float:
        """The value of a line of the metrics that begins like this; 0 where there is none."""
        async with self._session.get(f"{self._system.daemon.operator_url}/metrics") as response:
            text = await response.text()
        return sum(float(one.rpartition(" ")[2]) for one in text.splitlines() if one.startswith(line))

    def new_lines(self) -> list[dict[str, Any]]:
        """The lines of the log since the last time."""
        with self._system.daemon.log.open("rb") as log:
            log.seek(self._log_position)
            text = log.read()
            self._log_position = log.tell()
        lines = []
        for line in text.splitlines():
            with suppress(json.JSONDecodeError):
                lines.append(json.loads(line))
        return lines


class Stage(msgspec.Struct, frozen=True):
    system: OutageSystem
    operator: Operator
    disk: Path | None
    """Where Postgres keeps its data, on a small file system of its own; None where that cannot be had."""


@asynccontextmanager
async def staged(directory: Path) -> AsyncIterator[Stage]:
    """The system, running and well, for the length of a block. `directory` is absolute."""
    async with AsyncExitStack() as stack:
        system = OutageSystem(directory)
        disk = stack.enter_context(_small_disk(directory / "postgres"))
        await system.start(stack)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True, limit=0),
                timeout=aiohttp.ClientTimeout(ANSWER_SECONDS),
            )
        )
        yield Stage(system, Operator(system, session), disk)


@contextmanager
def _small_disk(directory: Path) -> Iterator[Path | None]:
    """A file system of DISK_BYTES in memory; only root can have one."""
    directory.mkdir(mode=0o711, parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0711", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        yield None
        return
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=False)


def family(pid: int) -> list[int]:
    """A process, and those that it has started."""
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def send(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to those of the processes that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)

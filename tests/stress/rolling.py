"""Restarts daemons one after the other behind nginx, under load, and counts what anybody noticed.

    python -m tests.stress.rolling --clients 10000 --messages 50 --restarts 10

Clients of WebSockets follow markets on which comments are posted, which is what they are told; others read
the API. Every request has to be answered well, and every client has to be told everything, in order. Then a
daemon is killed in the middle, and nothing that was answered may be lost. Each daemon's socket stays open
while it is away, as systemd's does, and so do its WebSockets. nginx has the configuration that is shipped,
without TLS.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import socket
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import click
import msgspec
import uvloop
from msgspec import Struct
from solders.pubkey import Pubkey

from bench.servers import HistorySize, second_process, servers
from tests import patience
from tests.nginx import KEEPALIVE_SECONDS, Nginx
from tests.ports import free_port
from tests.service_manager import RESTART, Service, clean_environment
from tests.stress.rolling_clients import Plan, Report
from zmartd import config, config_file
from zmartd.chain.idl import default_idl
from zmartd.clock import SystemClock
from zmartd.http.auth.signing_secrets import audience_of
from zmartd.http.auth.tokens import Tokens
from zmartd.http.server import file_descriptors
from zmartd.private_file import write_private

MARKETS = 50
WALLETS = 20
ALL_DRAINED_SECONDS = 2.0
"""Between two restarts."""
MANY = 20_000
_INSERT = """
insert into markets (id, on_chain_address, question, state, b_parameter, shares_yes, shares_no,
                     current_price_yes, total_volume, current_liquidity, slot, version)
select id, address, 'Will it?', 'ACTIVE', 100000000000, 0, 0, 0.5, 0, 0, 42, 1
  from unnest($1::text[], $2::text[]) as made (id, address)
"""
_LAST = "select substr(name, 8) as market, seq from streams where name like 'market:%'"
_COMMITTED = "select xact_commit from pg_stat_database where datname = current_database()"


class Size(Struct, frozen=True, kw_only=True):
    """How much of everything."""

    clients: int
    messages: float
    """Comments posted in a second."""
    reads: float
    """Requests that read, in a second."""
    restarts: int
    drain_seconds: float
    keeps: bool = True
    """Whether daemons are restarted, so that their WebSockets are kept, or stopped and started."""


class Outcome(Struct, kw_only=True):
    """What was noticed."""

    requests: int = 0
    failed: dict[str, int] = {}
    """Requests that were not answered well, by method and what came instead, while nothing was killed."""
    slowest_seconds: float = 0.0
    """The longest time until an answer, while nothing was killed."""
    restart_seconds: list[float] = []
    """From the signal until the next daemon was ready."""
    repeated_after_kill: int = 0
    """Requests that were sent again because of a daemon that was killed."""
    lost: int = 0
    doubled: int = 0
    """Comments that were answered and are not there once."""
    clients: Report
    moved_clients: int = 0
    """Clients that went to the other daemon at once when one ended, without any other load,"""
    transactions_while_moved: int = 0
    """and the transactions of Postgres meanwhile beyond those of as long a time before."""


class Load:
    """Requests through the proxy, at a steady rate however long each takes."""

    def __init__(self, session: aiohttp.ClientSession, markets: list[str], tokens: list[str]) -> None:
        self._session = session
        self._markets = markets
        self._tokens = tokens
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_killing = False
        self.requests = 0
        self.failed: Counter[str] = Counter()
        self.repeated = 0
        self.slowest = 0.0
        self.posted: list[str] = []

    async def run(self, size: Size) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(1 / size.messages, self._write))
            group.create_task(self._every(1 / size.reads, self._read))

    async def settle(self) -> None:
        """Return when all requests have been answered."""
        await asyncio.gather(*self._tasks)

    async def _every(self, seconds: float, send: Any) -> None:
        due = time.monotonic()
        for number in range(10**9):
            task = asyncio.create_task(send(number))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            due += seconds
            await asyncio.sleep(due - time.monotonic())

    async def _read(self, number: int) -> None:
        market = self._markets[number % len(self._markets)]
        await self._send("GET", f"/api/markets/{market}")

    async def _write(self, number: int) -> None:
        market = self._markets[number % len(self._markets)]
        text = str(uuid.uuid4())
        await self._send(
            "POST",
            f"/api/discussions/{market}",
            json={"content": text},
            headers={
                "Authorization": f"Bearer {self._tokens[number % len(self._tokens)]}",
                "Idempotency-Key": text,
            },
        )
        self.posted.append(text)

    async def _send(self, method: str, path: str, **options: Any) -> None:
        """Send a request until it is answered well."""
        while True:
            began, was_killing = time.monotonic(), self.is_killing
            self.requests += 1
            try:
                async with self._session.request(method, path, **options) as response:
                    body = await response.read()
                    good = response.status in {200, 201}
                    problem = "" if good else f"{response.status} {_code(body)}"
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = type(error).__name__
            if not (was_killing or self.is_killing):
                self.slowest = max(self.slowest, time.monotonic() - began)
            if not problem:
                return
            if was_killing or self.is_killing:
                self.repeated += 1
            else:
                self.failed[f"{method} {problem}"] += 1
            await asyncio.sleep(0.1)


def _code(body: bytes) -> str:
    """What an error calls itself; the beginning of one that is not the daemon's."""
    try:
        return msgspec.json.decode(body, type=_Error).code
    except msgspec.DecodeError:
        return body[:60].decode("latin-1")


class _Error(Struct):
    code: str


async def run(directory: Path, size: Size, show: Any = lambda _: None) -> Outcome:
    """Restart the daemons, and say what was noticed. Raises NotToBeHad without nginx."""
    async with AsyncExitStack() as stack:
        around = await stack.enter_async_context(servers(directory, HistorySize(1, 2, 2)))
        settings = _settings(around.settings, size)
        markets = [secrets.token_hex(32) for _ in range(MARKETS)]
        database = await asyncpg.connect(around.postgres.dsn)
        stack.push_async_callback(database.close)
        await database.execute(_INSERT, markets, [str(Pubkey(secrets.token_bytes(32))) for _ in markets])
        configuration = directory / "zmartd.toml"
        write_private(configuration, config_file.to_toml(settings))
        environment = clean_environment() | {"ZMARTD_CONFIG": str(configuration)}
        daemons = [
            await stack.enter_async_context(Service(directory, environment, port=free_port()))
            for _ in range(2)
        ]
        await asyncio.gather(*(daemon.start() for daemon in daemons))
        proxy = await stack.enter_async_context(
            Nginx(
                directory / "nginx",
                [daemon.port for daemon in daemons],
                max_connections_per_client=MANY,
            )
        )
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                proxy.url,
                connector=aiohttp.TCPConnector(limit=0, family=socket.AF_INET),
                timeout=aiohttp.ClientTimeout(120),
            )
        )
        load = Load(session, markets, _tokens(settings))
        plan = Plan(proxy.port, size.clients, markets)
        clients = await stack.enter_async_context(
            second_process("tests.stress.rolling_clients", msgspec.json.encode(plan).decode())
        )
        assert clients.stdin is not None
        assert clients.stdout is not None
        assert (await clients.stdout.readline()).strip() == b"ready"
        show(f"{size.clients} clients follow {MARKETS} markets")
        outcome = Outcome(clients=Report())
        async with _going_on(load.run(size)):
            await asyncio.sleep(ALL_DRAINED_SECONDS)
            for number in range(size.restarts):
                began = time.monotonic()
                status = await daemons[number % 2].restart(RESTART if size.keeps else signal.SIGTERM)
                assert status == 0, f"a daemon ended with {status}"
                outcome.restart_seconds.append(round(time.monotonic() - began, 2))
                show(f"restart {number + 1}: {outcome.restart_seconds[-1]} s, failed: {dict(load.failed)}")
                await asyncio.sleep(ALL_DRAINED_SECONDS)
            load.is_killing = True
            await daemons[0].restart(signal.SIGKILL)
            show(f"killed: {load.repeated} requests repeated")
            await asyncio.sleep(ALL_DRAINED_SECONDS)
        await load.settle()
        outcome.requests, outcome.failed = load.requests, dict(load.failed)
        outcome.slowest_seconds, outcome.repeated_after_kill = round(load.slowest, 2), load.repeated
        rows = await database.fetch("select content, count(*) from discussions group by content")
        there = {row["content"]: row["count"] for row in rows}
        outcome.lost = sum(text not in there for text in load.posted)
        outcome.doubled = sum(count > 1 for count in there.values())
        await _move_all(database, daemons[1], outcome, size)
        last = {row["market"]: row["seq"] for row in await database.fetch(_LAST)}
        clients.stdin.write(json.dumps({market: last.get(market, 0) for market in markets}).encode() + b"\n")
        await clients.stdin.drain()
        outcome.clients = msgspec.json.decode(await clients.stdout.readline(), type=Report)
        return outcome


async def _move_all(database: asyncpg.Connection, daemon: Service, outcome: Outcome, size: Size) -> None:
    """End a daemon without other load, and count what its clients cost Postgres on their way to the other."""
    seconds = size.drain_seconds + ALL_DRAINED_SECONDS + 2
    before = await _committed(database)
    await asyncio.sleep(seconds)
    usual = await _committed(database) - before
    async with aiohttp.ClientSession() as session:
        outcome.moved_clients = await _websockets(session, daemon)
    before, began = await _committed(database), time.monotonic()
    daemon.send(signal.SIGTERM)
    await daemon.ended()
    await asyncio.sleep(max(0.0, seconds - (time.monotonic() - began)))
    passed = time.monotonic() - began
    outcome.transactions_while_moved = round(await _committed(database) - before - usual * passed / seconds)
    await daemon.start()


async def _websockets(session: aiohttp.ClientSession, daemon: Service) -> int:
    """How many clients a daemon has."""
    async with session.get(f"{daemon.operator_url}/metrics") as response:
        text = await response.text()
    (line,) = (line for line in text.splitlines() if line.startswith("zmartd_websocket_connections "))
    return round(float(line.split()[1]))


async def _committed(database: asyncpg.Connection) -> int:
    """How many transactions Postgres has committed."""
    await database.execute("select pg_stat_clear_snapshot()")
    count: int = await database.fetchval(_COMMITTED)
    return count


@asynccontextmanager
async def _going_on(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do `work` for the length of a block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _tokens(settings: config.Settings) -> list[str]:
    """Sessions' tokens, as the daemons make them."""
    audience = audience_of(settings.solana.cluster, str(default_idl().program_id))
    tokens = Tokens(settings.auth, audience, SystemClock(), lambda: secrets.token_hex(16))
    return [tokens.issue(str(Pubkey(secrets.token_bytes(32))), int(time.time()))[0] for _ in range(WALLETS)]


def _settings(settings: config.Settings, size: Size) -> config.Settings:
    """Those of both daemons: the proxy is believed, and one address may have all connections."""
    assert size.drain_seconds > KEEPALIVE_SECONDS, "the proxy closes idle connections first"
    server = msgspec.structs.replace(
        settings.server,
        trusted_proxies=("127.0.0.1",),
        max_connections=MANY,
        drain_seconds=size.drain_seconds,
    )
    realtime = config.RealtimeSettings(max_connections_per_ip=MANY, max_messages_per_minute=1_000_000)
    database = msgspec.structs.replace(
        settings.database, statement_timeout_seconds=patience.SECONDS, acquire_seconds=patience.SECONDS
    )
    return msgspec.structs.replace(settings, server=server, realtime=realtime, database=database)


@click.command()
@click.option("--clients", default=10_000, show_default=True)
@click.option("--messages", default=50.0, show_default=True, help="Comments a second.")
@click.option("--reads", default=50.0, show_default=True, help="Reads a second.")
@click.option("--restarts", default=10, show_default=True)
@click.option("--drain-seconds", default=5.0, show_default=True)
@click.option("--keep/--stop", "keeps", default=True, help="Restart daemons, or stop and start them.")
def main(
    clients: int, messages: float, reads: float, restarts: int, drain_seconds: float, keeps: bool
) -> None:
    """Restart daemons under load, and print what anybody noticed."""
    file_descriptors.raise_limit()
    size = Size(
        clients=clients,
        messages=messages,
        reads=reads,
        restarts=restarts,
        drain_seconds=drain_seconds,
        keeps=keeps,
    )
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        outcome = uvloop.run(run(Path(name), size, click.echo))
    click.echo(msgspec.json.format(msgspec.json.encode(outcome)).decode())


if __name__ == "__main__":
    main()

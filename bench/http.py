"""Measures how fast the API answers frequent requests, compared with a handler that does nothing.

    python -m bench.http [--seconds S] [--connections N] [--express] [--json]

It starts Postgres, Valkey, a synthetic Solana node and a daemon, and sends requests from a second process on
another core. It prints a table and one line of JSON, and asserts nothing. With `--express` it measures
reads past memory alone, beside Express and pg, which npm installs into a temporary directory.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import click
import msgspec
import uvloop
from aiohttp import web

from bench import database_reads, middleware
from bench.cpu_affinity import on_core
from bench.express import Compared, beside_express
from bench.figures import Figure, print_figures
from bench.read_load import ReadPlan, ReadResult
from bench.servers import HistorySize, listening, second_process, servers
from bench.synthetic_history import IDL, SyntheticHistory
from zmartd import daemon, log
from zmartd.chain.codec import Codec
from zmartd.chain.transactions import parse_transaction
from zmartd.clock import SystemClock
from zmartd.core import Core, open_core
from zmartd.embedded.postgres import EmbeddedPostgres
from zmartd.http.auth.sessions import SESSIONS

SEED = 20
MARKETS = 200
WALLETS = 500
TRADES = 3_000
ROUNDS = 3

Round = tuple[ReadResult, float]


class Bench:
    """The measurements, with a daemon and a bare server on the same event loop."""

    def __init__(self, port: int, seconds: float, connections: int) -> None:
        self._port = port
        self._seconds = seconds
        self._connections = connections
        self._cores = sorted(os.sched_getaffinity(0))

    async def beside_bare(self, name: str, route: str, path: str) -> list[Figure]:
        """Answers per second to `path`, and alternately of a bare handler at `route` with the same bytes."""
        body = await _body(self._port, path)
        daemon_rounds, bare_rounds = [], []
        async with _bare(route, body) as bare_port:
            for _ in range(ROUNDS):
                bare_rounds.append(await self._ask(bare_port, path))
                daemon_rounds.append(await self._ask(self._port, path))
        (served, cpu), (bare, bare_cpu) = (_median(rounds) for rounds in (daemon_rounds, bare_rounds))
        note = f"floor: bare handler, the same {len(body)} bytes"
        if served.others:
            note += f"; {served.others} of {served.answers} REFUSED"
        return [
            Figure(name, served.per_second, "requests/s", bare.per_second, 0.6, note),
            Figure("  p50", served.p50_milliseconds, "ms", note=f"bare {bare.p50_milliseconds:.2f} ms"),
            Figure("  p99", served.p99_milliseconds, "ms", note=f"bare {bare.p99_milliseconds:.2f} ms"),
            Figure(
                "  CPU of the daemon", cpu, "µs", note=f"bare {bare_cpu:.1f} µs, {bare_cpu / cpu:.0%} of it"
            ),
        ]

    async def alone(self, name: str, path: str, **headers: str) -> list[Figure]:
        """Answers per second to `path`, and this process's CPU time for each."""
        answered, cpu = await self._ask(self._port, path, headers)
        note = f"p99 {answered.p99_milliseconds:.2f} ms"
        if answered.others:
            note += f"; {answered.others} of {answered.answers} REFUSED"
        return [
            Figure(name, answered.per_second, "requests/s", note=note),
            Figure("  CPU of the daemon", cpu, "µs"),
        ]

    async def beside_express(
        self, directory: Path, dsn: str, market: str, holder: str, token: str
    ) -> list[Figure]:
        """A market's detail read past memory and the positions of a wallet, beside a plain Node server."""
        anew = {"Cache-Control": "no-cache"}
        reads = [
            Compared("market detail, no-cache", f"/api/markets/{market}", anew, 2),
            Compared(
                "own positions",
                f"/api/users/{holder}/positions",
                {**anew, "Authorization": f"Bearer {token}"},
                4,
            ),
        ]
        return await beside_express(directory, dsn, self._port, self._plan(self._port, "/"), reads, ask)

    def _plan(self, port: int, path: str, headers: dict[str, str] | None = None) -> ReadPlan:
        core = self._cores[1] if len(self._cores) > 1 else None
        return ReadPlan(port, path, self._connections, self._seconds, headers or {}, core)

    async def _ask(self, port: int, path: str, headers: dict[str, str] | None = None) -> Round:
        """The result, and this process's CPU time in microseconds for each answer."""
        with on_core(self._cores[0]):
            used = time.process_time()
            answered = await ask(self._plan(port, path, headers))
            used = time.process_time() - used
        return answered, used / max(answered.answers, 1) * 1e6


async def ask(plan: ReadPlan) -> ReadResult:
    """What the clients of a plan say."""
    async with second_process("bench.read_load", msgspec.json.encode(plan).decode()) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdout.readline()
        process.stdin.write(b"go\n")
        return msgspec.json.decode(await process.stdout.readline(), type=ReadResult)


@asynccontextmanager
async def _bare(route: str, body: bytes) -> AsyncIterator[int]:
    """An application with a constant answer; its port."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get(route, answer)
    async with listening(app) as port:
        yield port


async def _body(port: int, path: str) -> bytes:
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return await response.read()


def _median(rounds: list[Round]) -> Round:
    return sorted(rounds, key=lambda one: one[0].per_second)[len(rounds) // 2]


async def _fill(core: Core) -> None:
    """Index markets and their trades."""
    codec = Codec(IDL)
    history = SyntheticHistory(SEED, MARKETS, WALLETS)
    transactions = [*history.openings(), *history.trades(TRADES)]
    parsed = [parse_transaction(msgspec.json.decode(one), IDL.program_id, codec) for one in transactions]
    for start in range(0, len(parsed), 500):
        await core.indexer.apply(parsed[start : start + 500])


async def _beside_express(
    core: Core, postgres: EmbeddedPostgres, directory: Path, seconds: float, connections: int
) -> list[Figure]:
    app = daemon.application(core)
    async with core.database.service() as connection:
        market = await connection.fetchval("select id from markets order by trades_count desc limit 1")
        holder = await connection.fetchval(
            "select user_wallet from user_positions group by 1 order by count(*) desc, 1 limit 1"
        )
    async with listening(app) as port:
        daemon.tune_garbage_collection()
        token, _ = app[SESSIONS].open(holder)
        bench = Bench(port, seconds, connections)
        return await bench.beside_express(directory, postgres.dsn, market=market, holder=holder, token=token)


async def _measured(core: Core, postgres: EmbeddedPostgres, seconds: float, connections: int) -> list[Figure]:
    click.echo("  reads under row level security …", err=True)
    figures = await database_reads.measure(postgres, core.database)
    app = daemon.application(core)
    catcher = middleware.RequestCatcher(app)
    async with listening(app) as port:
        bench = Bench(port, seconds, connections)
        async with core.database.service() as connection:
            market = await connection.fetchval("select id from markets order by trades_count desc limit 1")
            holder = await connection.fetchval(
                "select user_wallet from user_positions where market_id = $1 limit 1", market
            )
        daemon.tune_garbage_collection()
        token, _ = app[SESSIONS].open(holder)
        detail = f"/api/markets/{market}"
        signed_in = {"Authorization": f"Bearer {token}"}
        click.echo("  requests …", err=True)
        figures += await bench.beside_bare("market detail", "/api/markets/{id}", detail)
        figures += await bench.beside_bare("list of 20 markets", "/api/markets", "/api/markets?limit=20")
        etag = f'"{"0" * 24}", {await _etag(port, detail)}'
        figures += await bench.alone("market detail, known (304)", detail, **{"If-None-Match": etag})
        figures += await bench.alone("market detail, signed in", detail, **signed_in)
        figures += await bench.alone("market detail, no-cache", detail, **{"Cache-Control": "no-cache"})
        estimate = f"/api/trades/estimate?market_id={market}&outcome=true&target_cost=1000000000"
        if any(resource.canonical == "/api/trades/estimate" for resource in app.router.resources()):
            figures += await bench.alone("estimate", estimate)
        figures += await bench.alone(
            "own position, signed in", f"/api/users/{holder}/positions/{market}", **signed_in
        )
        figures += await middleware.measure(app, await catcher.caught(port, detail))
    return figures


async def _etag(port: int, path: str) -> str:
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return response.headers["ETag"]


async def measure(directory: Path, seconds: float, connections: int, *, express: bool) -> list[Figure]:
    """Run all measurements, one after the other, or those beside Express."""
    async with (
        servers(directory, HistorySize(SEED, MARKETS, WALLETS)) as surroundings,
        open_core(surroundings.settings, SystemClock()) as core,
    ):
        await _fill(core)
        if express:
            packages = directory / "express"
            packages.mkdir()
            return await _beside_express(core, surroundings.postgres, packages, seconds, connections)
        return await _measured(core, surroundings.postgres, seconds, connections)


@click.command()
@click.option("--seconds", type=click.FloatRange(0.2, 60), default=3, show_default=True, help="Of each load.")
@click.option("--connections", type=click.IntRange(1, 1_000), default=32, show_default=True)
@click.option("--express", is_flag=True, help="Only reads past memory, beside Express and pg.")
@click.option("--json", "only_json", is_flag=True, help="Print JSON only.")
def main(seconds: float, connections: int, express: bool, only_json: bool) -> None:
    """Measure the API."""
    with tempfile.TemporaryDirectory(prefix="zmartd-bench-") as directory, open(os.devnull, "w") as nowhere:
        # Every request is logged as in production, but the output is not measured.
        log.configure("info", "json", nowhere)
        Path(directory).chmod(0o711)  # Postgres may run as another user
        figures = uvloop.run(measure(Path(directory), seconds, connections, express=express))
    print_figures(figures, only_json=only_json)


if __name__ == "__main__":
    main()

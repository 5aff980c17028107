"""Measures what nginx costs, and what a second daemon behind it brings on the cores that there are.

    python -m bench.nginx [--seconds S] [--connections N] [--rounds N] [--json]

It starts Postgres, Valkey, two daemons as processes of their own, and nginx with the shipped configuration,
without TLS. Requests come from one more process. All share the machine's cores. In each round it asks one
daemon, the same daemon through nginx, and two daemons through nginx. It gives the best round of each, because
other work on the machine can only take away. CPU times are of each answer.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import click
import msgspec
import uvloop
from msgspec import Struct
from solders.pubkey import Pubkey

from bench.figures import Figure, print_figures
from bench.read_load import ReadPlan, ReadResult
from bench.servers import HistorySize, second_process, servers
from tests.nginx import NAME, Nginx
from tests.ports import free_port
from tests.service_manager import Service, clean_environment
from zmartd import config, config_file
from zmartd.private_file import write_private

MARKETS = 200
MANY = 20_000
WARM_UP_SECONDS = 0.5
_INSERT = """
insert into markets (id, on_chain_address, question, state, b_parameter, shares_yes, shares_no,
                     current_price_yes, total_volume, current_liquidity, slot, version, created_at)
select id, address, 'Will it?', 'ACTIVE', 100000000000, 0, 0, 0.5, 0, 0, 42, 1, now()
  from unnest($1::text[], $2::text[]) as made (id, address)
"""


class Way(Struct, frozen=True):
    """Where requests go, and the processes that see to them."""

    name: str
    port: int
    daemons: tuple[int, ...]
    nginx: Nginx | None = None


class Asked(Struct, frozen=True):
    """A load's answers, and the CPU seconds that daemons and nginx had meanwhile."""

    result: ReadResult
    daemons: float
    nginx: float


class Reading(Struct, frozen=True):
    """What is asked for."""

    name: str
    path: str
    headers: dict[str, str] = {}


def _settings(settings: config.Settings) -> config.Settings:
    """Those of both daemons: nginx is believed, and nobody is refused."""
    server = msgspec.structs.replace(
        settings.server,
        trusted_proxies=("127.0.0.1",),
        max_connections=MANY,
        max_connections_per_ip=MANY,
    )
    return msgspec.structs.replace(settings, server=server)


async def _ask(way: Way, reading: Reading, seconds: float, connections: int) -> Asked:
    headers = {"Host": NAME, **reading.headers}
    plan = ReadPlan(way.port, reading.path, connections, seconds, headers, sleeps=True)
    async with second_process("bench.read_load", msgspec.json.encode(plan).decode()) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdout.readline()
        workers = () if way.nginx is None else _workers(way.nginx.pid)
        before = _cpu_seconds(way.daemons), _cpu_seconds(workers)
        process.stdin.write(b"go\n")
        result = msgspec.json.decode(await process.stdout.readline(), type=ReadResult)
        return Asked(result, _cpu_seconds(way.daemons) - before[0], _cpu_seconds(workers) - before[1])


def _cpu_seconds(processes: Sequence[int]) -> float:
    """What they have had so far, in user and in system mode."""
    ticks = 0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _workers(master: int) -> tuple[int, ...]:
    """The processes of an nginx that serve. Those that see to its cache come and go."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return tuple(int(child) for child in children if b"worker" in Path(f"/proc/{child}/cmdline").read_bytes())


async def _measured(
    ways: Sequence[Way], reading: Reading, seconds: float, connections: int, rounds: int
) -> list[Figure]:
    """A figure for each way, the first one's being the floor of the others."""
    results: dict[str, list[Asked]] = {way.name: [] for way in ways}
    for way in ways:
        await _ask(way, reading, WARM_UP_SECONDS, connections)
    for _ in range(rounds):
        for way in ways:
            results[way.name].append(await _ask(way, reading, seconds, connections))
    best = [max(results[way.name], key=lambda asked: asked.result.per_second) for way in ways]
    alone = best[0].result.per_second
    figures = []
    for way, asked in zip(ways, best, strict=True):
        result = asked.result
        daemons, nginx = (1e6 * spent / max(result.answers, 1) for spent in (asked.daemons, asked.nginx))
        latency = f"p50 {result.p50_milliseconds:.1f} ms, p99 {result.p99_milliseconds:.0f} ms"
        note = f"{latency}; CPU: {daemons:.0f} µs, nginx {nginx:.0f} µs"
        if result.others:
            note += f"; {result.others} of {result.answers} REFUSED"
        floor = None if asked is best[0] else alone
        name = f"{reading.name}, {way.name}"
        figures.append(Figure(name, result.per_second, "requests/s", floor, note=note))
    return figures


async def measure(directory: Path, seconds: float, connections: int, rounds: int) -> list[Figure]:
    """Run all measurements, one after the other. Raises NotToBeHad without nginx."""
    async with AsyncExitStack() as stack:
        around = await stack.enter_async_context(servers(directory, HistorySize(1, 2, 2)))
        markets = [secrets.token_hex(32) for _ in range(MARKETS)]
        database = await asyncpg.connect(around.postgres.dsn)
        await database.execute(_INSERT, markets, [str(Pubkey(secrets.token_bytes(32))) for _ in markets])
        await database.close()
        configuration = directory / "zmartd.toml"
        write_private(configuration, config_file.to_toml(_settings(around.settings)))
        environment = clean_environment() | {"ZMARTD_CONFIG": str(configuration)}
        daemons = [
            await stack.enter_async_context(Service(directory, environment, port=free_port()))
            for _ in range(2)
        ]
        for daemon in daemons:
            await daemon.start()
        pids = tuple(daemon.process.pid for daemon in daemons)
        ways = [Way("one daemon, no nginx", daemons[0].port, pids[:1])]
        for count in (1, 2):
            ports = [daemon.port for daemon in daemons[:count]]
            proxy = await stack.enter_async_context(
                Nginx(directory / f"nginx-{count}", ports, max_connections_per_client=MANY)
            )
            ways.append(Way(f"{count} behind nginx", proxy.port, pids[:count], proxy))
        return [
            figure
            for reading in (
                Reading("market", f"/api/markets/{markets[0]}"),
                Reading("list of 20", "/api/markets?limit=20"),
                Reading("market from Postgres", f"/api/markets/{markets[0]}", {"Cache-Control": "no-cache"}),
            )
            for figure in await _measured(ways, reading, seconds, connections, rounds)
        ]


@click.command()
@click.option("--seconds", type=click.FloatRange(0.2, 60), default=3, show_default=True, help="Of each load.")
@click.option("--connections", type=click.IntRange(1, 1_000), default=64, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--json", "only_json", is_flag=True, help="Print JSON only.")
def main(seconds: float, connections: int, rounds: int, only_json: bool) -> None:
    """Measure daemons behind nginx."""
    with tempfile.TemporaryDirectory(prefix="zmartd-bench-") as directory:
        Path(directory).chmod(0o711)  # Postgres may run as another user
        figures = uvloop.run(measure(Path(directory), seconds, connections, rounds))
    print_figures(figures, only_json=only_json)


if __name__ == "__main__":
    main()

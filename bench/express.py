"""Reads past memory beside a plain Node server on the same database: Express, pg, one select per answer."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import click
from msgspec import Struct

from bench.cpu_affinity import on_core
from bench.figures import Figure
from bench.read_load import ReadPlan, ReadResult

ROUNDS: Final = 3
_PACKAGES: Final = ("express@4", "pg@8")
_LEAST_BYTES: Final = 100
_SERVER: Final = Path(__file__).with_name("express_server.js")

Ask = Callable[[ReadPlan], Awaitable[ReadResult]]


class Compared(Struct, frozen=True):
    """A read of both: the path, and what a caller of the daemon sends along."""

    name: str
    path: str
    headers: Mapping[str, str]
    goal: float
    """How many times as many requests the daemon should answer in a second."""


class _Round(Struct, frozen=True):
    answered: ReadResult
    cpu_microseconds: float


async def beside_express(
    directory: Path, dsn: str, port: int, plan: ReadPlan, reads: list[Compared], ask: Ask
) -> list[Figure]:
    """Each read of the daemon, which is this process, and of Express, by turns on the same core.

    `plan` says how to ask, `ask` does it. No figures, and a word why, where node or its packages are missing.
    """
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        click.echo(f"  skipped: no {' and no '.join(missing)} on this machine to run Express with", err=True)
        return []
    if not await _install(directory):
        click.echo(f"  skipped: npm could not install {' '.join(_PACKAGES)}", err=True)
        return []
    figures: list[Figure] = []
    async with _express(directory, dsn) as (process, express_port):
        for read in reads:
            await _require_rows(express_port, read)
            daemon_rounds: list[_Round] = []
            express_rounds: list[_Round] = []
            for _ in range(ROUNDS):
                express_rounds.append(await _asked(plan, read, express_port, process.pid, ask))
                daemon_rounds.append(await _asked(plan, read, port, os.getpid(), ask))
            figures += _figures(read, _median(daemon_rounds), _median(express_rounds))
    return figures


async def _require_rows(port: int, read: Compared) -> None:
    """Nothing is compared with an answer that has no rows. Raises AssertionError."""
    url = f"http://127.0.0.1:{port}{read.path}"
    async with (
        aiohttp.ClientSession() as session,
        session.get(url) as answer,
    ):
        body = await answer.read()
    assert len(body) > _LEAST_BYTES, f"Express answers {read.name} with {body!r}"


async def _asked(plan: ReadPlan, read: Compared, port: int, pid: int, ask: Ask) -> _Round:
    asked = ReadPlan(
        port, read.path, plan.connections, plan.seconds, dict(read.headers), plan.core, plan.sleeps
    )
    with on_core(min(os.sched_getaffinity(0))):
        before = _cpu_seconds(pid)
        answered = await ask(asked)
        spent = _cpu_seconds(pid) - before
    return _Round(answered, 1e6 * spent / max(answered.answers, 1))


def _figures(read: Compared, served: _Round, express: _Round) -> list[Figure]:
    ours, theirs = served.answered, express.answered
    refused = ours.others + theirs.others
    note = f"floor: Express, one select, {theirs.body_bytes} bytes instead of {ours.body_bytes}"
    return [
        Figure(read.name, ours.per_second, "requests/s", theirs.per_second, read.goal,
               note + (f"; {refused} REFUSED" if refused else "")),
        Figure("  p50", ours.p50_milliseconds, "ms", note=f"Express {theirs.p50_milliseconds:.2f} ms"),
        Figure("  CPU of the daemon", served.cpu_microseconds, "µs",
               note=f"Express {express.cpu_microseconds:.0f} µs; Postgres is in neither"),
    ]  # fmt: skip


def _median(rounds: list[_Round]) -> _Round:
    return sorted(rounds, key=lambda one: one.answered.per_second)[len(rounds) // 2]


def _cpu_seconds(pid: int) -> float:
    """What a process has used, with its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _install(directory: Path) -> bool:
    process = await asyncio.create_subprocess_exec(
        "npm", "install", "--no-audit", "--no-fund", "--silent", *_PACKAGES, cwd=directory
    )
    return await process.wait() == 0


@asynccontextmanager
async def _express(directory: Path, dsn: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    server = directory / _SERVER.name
    shutil.copyfile(_SERVER, server)  # beside its packages
    process = await asyncio.create_subprocess_exec(
        "node",
        str(server),
        dsn,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_ENV": "production"},
    )
    try:
        os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        assert process.stdout is not None
        yield process, int(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()

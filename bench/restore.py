"""Measures how long a backup and a restore take.

    python -m bench.restore [--events N] [--json]

It starts Postgres (every commit on disk), fills it with a synthetic history of so many events, backs the
database up and restores it into another one. It prints a table and one line of JSON, and asserts nothing.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import asyncpg
import click
import uvloop

from bench.figures import Figure, print_figures
from bench.scale_fill import MARKETS, fill, history_of
from bench.synthetic_history import IDL
from zmartd import config, log
from zmartd.config_values import PostgresUrl
from zmartd.embedded.installation import installation
from zmartd.embedded.postgres import EmbeddedPostgres
from zmartd.store.backup.backup import back_up
from zmartd.store.backup.manifest import Chain
from zmartd.store.backup.restore import restore
from zmartd.store.postgres.migrations import migrate

OPENINGS = 3
"""Events of a market before its first trade."""
GOAL_SECONDS = 60
CHAIN = Chain("localnet", IDL.address)


async def measure(directory: Path, events: int) -> list[Figure]:
    """Back up and restore a database with so many events."""
    others = [installation(for_everyone=False) / "bin"]
    async with EmbeddedPostgres(directory / "postgres") as postgres:
        click.echo("  filling …", err=True)
        await migrate(postgres.dsn)
        trades = events - OPENINGS * MARKETS
        await fill(postgres.dsn, history_of(trades), trades)
        source = config.DatabaseSettings(url=PostgresUrl(postgres.dsn))
        connection = await asyncpg.connect(postgres.dsn)
        size = await connection.fetchval("select pg_database_size(current_database())")
        await connection.execute("create database elsewhere template template0")
        await connection.close()
        click.echo("  backup, restore …", err=True)
        file = directory / "backup"
        begun = time.monotonic()
        manifest = await back_up(source, file, CHAIN, others=others, progress=lambda done, total: None)
        backed_up = time.monotonic()
        target = config.DatabaseSettings(url=PostgresUrl(postgres.dsn_of("elsewhere")))
        await restore(
            target,
            file,
            CHAIN,
            jobs=os.cpu_count() or 1,
            others=others,
            progress=lambda done, total: None,
        )
        ended = time.monotonic()
    rows, megabytes = sum(manifest.rows.values()), manifest.bytes / 1e6
    return [
        Figure("events", events, "", note=f"{rows} rows, {size / 1e6:.0f} MB in Postgres"),
        Figure("backup", backed_up - begun, "s", note=f"{megabytes:.0f} MB, read again and counted"),
        Figure("restore", ended - backed_up, "s", note=f"counted; the goal is at most {GOAL_SECONDS} s"),
    ]


@click.command()
@click.option("--events", type=click.IntRange(10_000, 100_000_000), default=1_000_000, show_default=True)
@click.option("--json", "only_json", is_flag=True, help="Print JSON only.")
def main(events: int, only_json: bool) -> None:
    """Measure how long a backup and a restore of --events take."""
    log.configure("warning", "console")
    with tempfile.TemporaryDirectory(prefix="zmartd-bench-") as directory:
        Path(directory).chmod(0o711)  # Postgres may run as another user
        figures = uvloop.run(measure(Path(directory), events))
    print_figures(figures, only_json=only_json)


if __name__ == "__main__":
    main()

"""Measures what partitions would cost and bring, beside tables that are not partitioned.

    python -m bench.partitions [--trades N] [--rows N] [--json]

It starts Postgres (every commit on disk). Trades, in a table like that of zmartd, are in one table, and in 24
partitions by slot beside a table of the keys that may be there once: a unique key of a partitioned table has
to contain what it is partitioned by. Both kinds are written and read by turns. Applied deliveries are deleted
as the task does it, and with a partition. It prints a table and one line of JSON, and asserts nothing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import uvloop

from bench.figures import Figure, print_figures
from bench.partition_deliveries import measure_deliveries
from bench.partition_trades import measure_trades
from zmartd import log
from zmartd.embedded.postgres import EmbeddedPostgres


async def measure(directory: Path, trades: int, rows: int) -> list[Figure]:
    """Compare both, of so many trades and deliveries."""
    async with EmbeddedPostgres(directory / "postgres") as postgres:
        click.echo("  trades …", err=True)
        figures = await measure_trades(postgres.dsn, trades)
        click.echo("  deliveries …", err=True)
        return figures + await measure_deliveries(postgres.dsn, rows)


@click.command()
@click.option("--trades", type=click.IntRange(1_000, 100_000_000), default=1_000_000, show_default=True)
@click.option("--rows", type=click.IntRange(1_000, 100_000_000), default=1_000_000, show_default=True)
@click.option("--json", "only_json", is_flag=True, help="Print JSON only.")
def main(trades: int, rows: int, only_json: bool) -> None:
    """Measure tables with and without partitions. The floor of each figure is the table without."""
    log.configure("warning", "console")
    with tempfile.TemporaryDirectory(prefix="zmartd-bench-") as directory:
        Path(directory).chmod(0o711)  # Postgres may run as another user
        figures = uvloop.run(measure(Path(directory), trades, rows))
    print_figures(figures, only_json=only_json)


if __name__ == "__main__":
    main()

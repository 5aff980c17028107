"""Measures what periodic tasks cost.

    python -m bench.tasks [--approvals N] [--markets N] [--votes N] [--seconds N] [--audited N]
                          [--only PART] [--json]

It starts Postgres, Valkey and a localnet with the real program, prints a table and one line of JSON, and
asserts nothing. A part is a module with an `async def measure(...)` that gives figures; PARTS names them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import click
import uvloop
from msgspec import Struct

from bench import task_approvals, task_audit, task_ledger, task_tally
from bench.figures import Figure, print_figures
from zmartd import log


class Sizes(Struct, frozen=True):
    """How much each part does."""

    approvals: int
    markets: int
    votes: int
    seconds: int
    audited: int


PARTS: Final[dict[str, Callable[[Path, Sizes], Awaitable[list[Figure]]]]] = {
    "approvals": lambda directory, sizes: task_approvals.measure(directory, sizes.approvals),
    "tally": lambda directory, sizes: task_tally.measure(directory, sizes.markets, sizes.votes),
    "ledger": lambda directory, sizes: task_ledger.measure(directory, sizes.seconds),
    "audit": lambda directory, sizes: task_audit.measure(directory, sizes.audited),
}


async def measure(directory: Path, parts: tuple[str, ...], sizes: Sizes) -> list[Figure]:
    """The figures of these parts, each on servers of its own, one after the other."""
    figures: list[Figure] = []
    for part in parts:
        figures += await PARTS[part](directory / part, sizes)
    return figures


@click.command()
@click.option(
    "--approvals", type=click.IntRange(2, 5_000), default=120, show_default=True, help="Markets, each way."
)
@click.option(
    "--markets", type=click.IntRange(1, 10_000), default=1_000, show_default=True, help="Of the tally."
)
@click.option(
    "--votes",
    type=click.IntRange(1, 10_000_000),
    default=1_000_000,
    show_default=True,
    help="On all of them.",
)
@click.option(
    "--seconds", type=click.IntRange(5, 3_600), default=60, show_default=True, help="Of the ledger, twice."
)
@click.option(
    "--audited", type=click.IntRange(3, 100_000), default=1_000, show_default=True, help="Of the audit."
)
@click.option("--only", "parts", multiple=True, type=click.Choice(list(PARTS)), help="These parts alone.")
@click.option("--json", "only_json", is_flag=True, help="Print JSON only.")
def main(
    approvals: int,
    markets: int,
    votes: int,
    seconds: int,
    audited: int,
    parts: tuple[str, ...],
    only_json: bool,
) -> None:
    """Measure periodic tasks."""
    with tempfile.TemporaryDirectory(prefix="zmartd-bench-") as directory, open(os.devnull, "w") as nowhere:
        log.configure("warning", "json", nowhere)
        chosen = parts or tuple(PARTS)
        for path in (Path(directory), *(Path(directory) / part for part in chosen)):
            path.mkdir(exist_ok=True)
            path.chmod(0o711)  # Postgres may run as another user
        sizes = Sizes(approvals, markets, votes, seconds, audited)
        figures = uvloop.run(measure(Path(directory), chosen, sizes))
    print_figures(figures, only_json=only_json)


if __name__ == "__main__":
    main()

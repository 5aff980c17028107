"""What `bench.scale` has measured, and its table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import click
import msgspec
from msgspec import Struct

from zmartd.commands.output import table


class Cost(Struct, frozen=True):
    """What one kind of read, or of write, costs: each of `count`."""

    name: str
    count: int
    p50_milliseconds: float
    p99_milliseconds: float
    rows_read: float


class SizeFigures(Struct, frozen=True):
    """The figures of one database."""

    trades: int
    costs: list[Cost]
    apply_singly_per_second: float
    apply_batches_per_second: float
    resident_mebibytes: float
    """Of the daemon, after all reads."""
    database_bytes_per_trade: float


def cost_of(name: str, seconds: Sequence[float], rows_read: float) -> Cost:
    """What this cost, which took so many seconds each time."""
    ordered = sorted(1_000 * one for one in seconds)
    p50, p99 = (ordered[min(int(len(ordered) * share), len(ordered) - 1)] for share in (0.5, 0.99))
    return Cost(name, len(ordered), p50, p99, rows_read)


def print_sizes(sizes: Sequence[SizeFigures], *, only_json: bool) -> None:
    """Print a table with a pair of columns for each size, unless `only_json`, and one line of JSON."""
    if not only_json:
        header = ["", *(cell for one in sizes for cell in (f"{one.trades:,}: p50 / p99 ms", "rows"))]
        rows = [
            [costs[0].name, *(cell for cost in costs for cell in _cells(cost))]
            for costs in zip(*(one.costs for one in sizes), strict=True)
        ]
        for name, of in _WHOLES.items():
            rows.append([name, *(cell for one in sizes for cell in (f"{of(one):,.0f}", ""))])
        click.echo(table(rows, header=header, right=range(1, len(header))) + "\n")
    click.echo(msgspec.json.encode(sizes).decode())


def _cells(cost: Cost) -> tuple[str, str]:
    return f"{cost.p50_milliseconds:,.1f} / {cost.p99_milliseconds:,.1f}", f"{cost.rows_read:,.0f}"


_WHOLES: Final[dict[str, Callable[[SizeFigures], float]]] = {
    "apply, one by one: events/s": lambda one: one.apply_singly_per_second,
    "apply, 100 together: events/s": lambda one: one.apply_batches_per_second,
    "the daemon's memory, MiB": lambda one: one.resident_mebibytes,
    "database, bytes per trade": lambda one: one.database_bytes_per_trade,
}

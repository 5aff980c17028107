"""Figures beside their floors, as a table and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

import click
import msgspec
from msgspec import Struct

from zmartd.commands.output import table


class Figure(Struct, frozen=True):
    """One measured value. `floor` is the least cost of the same work, in the same unit."""

    name: str
    value: float
    unit: str
    floor: float | None = None
    goal: float | None = None
    """The least share of the floor; the least value where there is no floor."""
    note: str = ""

    @property
    def share(self) -> float | None:
        return self.value / self.floor if self.floor else None


def print_figures(figures: Sequence[Figure], *, only_json: bool) -> None:
    """Print the machine and a table of the figures, unless `only_json`, and one line of JSON."""
    if not only_json:
        header = ("", "measured", "", "floor", "share", "goal", "")
        rows = table(map(_row, figures), header=header, right={1, 3, 4, 5})
        click.echo(f"{os.cpu_count()} cores, Python {platform.python_version()}\n\n{rows}\n")
    result = [{**msgspec.structs.asdict(figure), "share": figure.share} for figure in figures]
    click.echo(msgspec.json.encode(result).decode())


def _row(figure: Figure) -> tuple[str, ...]:
    return (
        figure.name,
        _number(figure.value),
        figure.unit,
        "" if figure.floor is None else _number(figure.floor),
        "" if figure.share is None else f"{figure.share:.0%}",
        _goal(figure),
        figure.note,
    )


def _number(value: float) -> str:
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}".replace(",", " ")


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    return f"≥ {figure.goal:.0%}" if figure.floor is not None else f"≥ {_number(figure.goal)}"

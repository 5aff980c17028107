"""Figures beside their floors, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct


class Figure(Struct, frozen=True):
    """One line of the table. `floor` is what the same work costs at least, in the same unit."""

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


def table(figures: Sequence[Figure]) -> str:
    """The figures as aligned columns."""
    lines = [f"{'':<32}{'measured':>11} {'':<15}{'floor':>9}{'share':>8}{'goal':>10}   "]
    for figure in figures:
        floor = "" if figure.floor is None else _number(figure.floor)
        share = "" if figure.share is None else f"{figure.share:.0%}"
        line = f"{figure.name:<32}{_number(figure.value):>11} {figure.unit:<15}{floor:>9}{share:>8}"
        lines.append(f"{line}{_goal(figure):>10}   {figure.note}".rstrip())
    return "\n".join(lines)


def as_json(figures: Sequence[Figure]) -> str:
    """The figures as one line."""
    return msgspec.json.encode(
        [{**msgspec.structs.asdict(figure), "share": figure.share} for figure in figures]
    ).decode()


def _number(value: float) -> str:
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}".replace(",", " ")


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    return f"≥ {figure.goal:.0%}" if figure.floor is not None else f"≥ {_number(figure.goal)}"

"""`zmartd tick --dry-run`: what tasks would send, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import indent
from typing import TYPE_CHECKING, Final

import msgspec

from zmartd.commands.output import printable, shortened, table
from zmartd.commands.running import run

if TYPE_CHECKING:
    from zmartd.config import Settings
    from zmartd.core import DryRuns
    from zmartd.tasks.dry_run import DryRun, DryTransaction

_HEADER: Final = ("", "TRANSACTION", "MARKETS", "UNITS", "LIMIT", "LAMPORTS", "DETAIL")
_RIGHT: Final = {3, 4, 5}
_LOG_LINES: Final = 5
"""How many of the last log lines of a failed simulation are printed; --json has all."""


def run_dry(settings: Settings, names: Sequence[str]) -> list[DryRun]:
    """What these tasks would send; without names: those that send anything and are enabled.

    Raises UnknownTask, NoDryRun, and what `open_for_dry_runs` raises.
    """
    from zmartd.clock import SystemClock
    from zmartd.core import open_for_dry_runs
    from zmartd.tasks.dry_run import dry_run

    async def main() -> list[DryRun]:
        async with open_for_dry_runs(settings, SystemClock()) as opened:
            return [await dry_run(opened.tasks[name], opened.context) for name in _chosen(opened, names)]

    return run(main)


def _chosen(opened: DryRuns, names: Sequence[str]) -> Sequence[str]:
    from zmartd.tasks.dry_run import NoDryRun
    from zmartd.tasks.plan import Planner
    from zmartd.tasks.scheduler import unknown_task

    for name in names:
        if name in opened.broken:
            plugin = opened.broken[name]
            raise NoDryRun(f"the plugin {plugin.target} cannot be loaded: {plugin.problem}")
        if name not in opened.tasks:
            raise unknown_task(name, list(opened.tasks))
    return names or [
        task.name for task in opened.tasks.values() if task.enabled and isinstance(task, Planner)
    ]


def dry_runs_for_programs(runs: Sequence[DryRun]) -> list[dict[str, object]]:
    """One object per task: the fields of DryRun, and `ok`."""
    return [{**msgspec.to_builtins(one), "ok": one.ok} for one in runs]


def dry_runs_for_people(runs: Sequence[DryRun]) -> str:
    """A line per task, under it a line per transaction, and the logs of those that would fail."""
    return "\n".join(line for one in runs for line in _lines(one))


def _lines(run: DryRun) -> Iterator[str]:
    yield f"{run.task}: {_summary(run)}"
    if run.transactions:
        rows = [_row(one) for one in run.transactions]
        yield indent(table(rows, header=_HEADER, right=_RIGHT), "  ")
    for one in run.transactions:
        if one.logs:
            yield f"  the end of the logs of {one.purpose} for {shortened(one.market_ids[0])}"
            yield from (f"    {printable(line)}" for line in one.logs[-_LOG_LINES:])
    for obstacle in run.obstacles:
        yield f"  FAIL  {shortened(obstacle.market_id)}  {printable(obstacle.detail)}"


def _summary(run: DryRun) -> str:
    if run.failure is not None:
        return f"failed: {printable(run.failure)}"
    if run.skipped is not None:
        return f"skipped: {run.skipped}"
    if not run.transactions:
        return "would send nothing"
    count = len(run.transactions)
    return f"would send {count} transaction{'s' if count > 1 else ''}; nothing was sent"


def _row(one: DryTransaction) -> tuple[str, ...]:
    first, others = shortened(one.market_ids[0]), len(one.market_ids) - 1
    return (
        "ok" if one.failure is None else "FAIL",
        one.purpose,
        f"{first} and {others} more" if others else first,
        _number(one.units),
        _number(one.units_limit),
        _number(one.fee_lamports),
        one.failure or (f"goes on with {shortened(one.under_way)}" if one.under_way else one.details[0]),
    )


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)

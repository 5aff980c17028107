"""`zmartd tick`: one run of the periodic tasks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Final

import click
import msgspec

from zmartd.commands.dry_runs import dry_runs_for_people, dry_runs_for_programs, run_dry
from zmartd.commands.options import config_option, json_option
from zmartd.commands.output import print_result, printable, shortened, table
from zmartd.commands.running import run_with_core

if TYPE_CHECKING:
    from zmartd.core import Core
    from zmartd.tasks.base import RunReport, TaskAction

WAITING: Final = 3
"""The exit status when nothing failed, but a market waits for a decision. 2 is for a wrong command line."""
_HEADER: Final = ("", "MARKET", "ACTION", "TRANSACTION", "DETAIL")


class _TickCommand(click.Command):
    """Names the installed tasks at the end of its help."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from zmartd.tasks.plugins import task_names

        with formatter.section("Tasks"):
            formatter.write_text(", ".join(task_names()))


@click.command(cls=_TickCommand)
@click.argument("tasks", metavar="[TASK]...", nargs=-1)
@click.option(
    "--dry-run", "is_dry", is_flag=True, help="Send and record nothing; print what would be sent, simulated."
)
@config_option
@json_option
def tick(tasks: tuple[str, ...], is_dry: bool, config_path: Path | None, as_json: bool) -> None:
    """Run periodic tasks once, now, and print what they did. Without TASK: all that are enabled.
    A plugin that cannot be loaded is reported as failed. Also a task that is paused runs; one that runs on a
    daemon is skipped. `zmartd tasks explain TASK` shows the run among those at the task's instants.

    With --dry-run nothing is run: the transactions that the tasks would send now are simulated and printed.

    The exit status is 0 when nothing needs a person's attention, 1 when a run or one of its actions failed,
    and 3 when nothing failed but a market waits for the decision of an admin or an operator.
    """
    from zmartd import config_file, log

    settings = config_file.load(config_path)
    log.configure(settings.log.level, "console")

    if is_dry:
        rehearsals = run_dry(settings, tasks)
        print_result(as_json, dry_runs_for_programs(rehearsals), dry_runs_for_people(rehearsals))
        sys.exit(0 if all(one.ok for one in rehearsals) else 1)

    async def run_tasks(core: Core) -> list[RunReport]:
        for name in tasks:
            core.scheduler.require_known(name)
        names = tasks or (*core.scheduler.enabled, *core.scheduler.broken)
        return [await core.scheduler.run_once(name) for name in names]

    reports = run_with_core(settings, run_tasks)
    print_result(as_json, reports_for_programs(reports), reports_for_people(reports))
    sys.exit(exit_status(reports))


def exit_status(reports: Sequence[RunReport]) -> int:
    """0: all is well. 1: something failed. WAITING: nothing failed, but somebody has to decide something."""
    if any(one.failed for one in reports):
        return 1
    return 0 if all(one.ok for one in reports) else WAITING


def reports_for_programs(reports: Sequence[RunReport]) -> list[dict[str, object]]:
    """One object per run: the fields of RunReport, `ok` and `failed`."""
    return [{**msgspec.to_builtins(report), "ok": report.ok, "failed": report.failed} for report in reports]


def reports_for_people(reports: Sequence[RunReport]) -> str:
    """A line per run, and under it a line per action with shortened ids and signatures."""
    return "\n".join(line for report in reports for line in _lines(report))


def _lines(report: RunReport) -> Iterator[str]:
    seconds = (report.finished_at - report.started_at).total_seconds()
    yield f"{report.task}: {_summary(report)} ({seconds:.2f} s)"
    if report.actions:
        yield indent(table(map(_row, report.actions), header=_HEADER), "  ")


def _summary(report: RunReport) -> str:
    if report.failure is not None:
        return f"failed: {printable(report.failure)}"
    if report.skipped is not None:
        return f"skipped: {report.skipped}"
    if not report.actions:
        return "nothing to do"
    times = sum(action.times for action in report.actions)
    said = [f"{times} action{'s' if times > 1 else ''}"]
    if failed := sum(action.times for action in report.actions if action.failed):
        said.append(f"{failed} failed")
    if waiting := sum(action.times for action in report.actions if action.waits):
        said.append(f"{waiting} wait{'s' if waiting == 1 else ''} for a person")
    return ", ".join(said)


def _row(action: TaskAction) -> tuple[str, ...]:
    return (
        "ok" if action.ok else "WAITS" if action.waits else "FAIL",
        shortened(action.market_id),
        action.action,
        shortened(action.signature),
        action.detail,
    )

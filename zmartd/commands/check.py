"""`zmartd check`: what comes before the daemon's first start."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from zmartd.commands.options import doubtful_config_option, json_option
from zmartd.commands.output import print_result, printable, table
from zmartd.commands.running import run

if TYPE_CHECKING:
    from zmartd.doctor.check import Finding

_MARKS: Final = {"ok": "ok", "warning": "WARN", "failed": "FAIL", "skipped": "-"}
_COLOURS: Final = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": None}


@click.command()
@doubtful_config_option
@json_option
@click.option("--fix", is_flag=True, help="Mend what can be mended safely, and look again.")
def check(config_path: Path | None, as_json: bool, fix: bool) -> None:
    """Look at everything that the daemon depends on, and say what is wrong and what mends it.

    All of it is looked at, whatever is wrong with other parts. The exit status is 1 when something keeps the
    daemon from its work, and 0 otherwise, also with warnings; 2 says that the command was not understood.

    --fix closes files with secrets to other users, makes missing indexes, and vacuums.
    """
    from zmartd import log
    from zmartd.clock import SystemClock
    from zmartd.doctor.catalogue import CHECKS
    from zmartd.doctor.examination import examine

    log.configure("error", "console")
    findings = run(lambda: examine(config_path, CHECKS, SystemClock(), fix=fix))
    result = [
        {
            "check": one.check,
            "ok": one.ok,
            "verdict": one.verdict,
            "detail": one.detail,
            "remedy": one.remedy,
            "fixed": one.fixed,
        }
        for one in findings
    ]
    print_result(as_json, result, _report(findings))
    sys.exit(0 if all(one.ok for one in findings) else 1)


def _report(findings: Sequence[Finding]) -> str:
    """A line for each finding, below it what mends it, and at the end how many there are of each kind."""
    rows = table((_MARKS[one.verdict], one.check, one.detail) for one in findings).splitlines()
    lines = []
    for row, one in zip(rows, findings, strict=True):
        mark = _MARKS[one.verdict]
        lines.append(click.style(mark, fg=_COLOURS[one.verdict]) + row.removeprefix(mark))
        lines += [f"      -> {line}" for line in printable(one.remedy).splitlines()]
    numbers = Counter(one.verdict for one in findings)
    summary = f"{numbers['failed']} failed, {numbers['warning']} warnings, {numbers['ok']} ok"
    if numbers["skipped"]:
        summary += f", {numbers['skipped']} not looked at"
    return "\n".join([*lines, "", summary])

"""`zmartd check`: what comes before the daemon's first start."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from zmartd.commands.options import config_option, json_option
from zmartd.commands.output import print_result, table
from zmartd.commands.running import run

_MARKS: Final = {"ok": "ok", "warning": "WARN", "failed": "FAIL"}


@click.command()
@config_option
@json_option
def check(config_path: Path | None, as_json: bool) -> None:
    """Check everything that the daemon depends on: each is ok, or a sentence says what to do.

    The exit status is 1 when something keeps the daemon from its work; a warning does not.
    """
    from zmartd import log
    from zmartd.commands.dependency_checks import check_dependencies

    log.configure("error", "console")
    findings = run(lambda: check_dependencies(config_path))
    result = [
        {"check": one.name, "ok": one.ok, "verdict": one.verdict, "detail": one.detail} for one in findings
    ]
    print_result(as_json, result, table((_MARKS[one.verdict], one.name, one.detail) for one in findings))
    sys.exit(0 if all(one.ok for one in findings) else 1)

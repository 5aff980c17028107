"""Run reports for people and for programs: what `zmartd tick` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from zmartd.tasks.base import Action, RunReport

_HEADER: Final = ("", "MARKET", "ACTION", "TRANSACTION", "DETAIL")
_SHORT: Final = 12


def as_json(reports: Sequence[RunReport]) -> str:
    """A JSON array with one object per run; the fields are RunReport's, and `ok`."""
    return msgspec.json.encode(
        [{**msgspec.to_builtins(report), "ok": report.ok} for report in reports]
    ).decode()


def as_table(reports: Sequence[RunReport]) -> str:
    """A line per run and, under it, a line per action; ids and signatures shortened."""
    return "\n".join(line for report in reports for line in _lines(report))


def _lines(report: RunReport) -> Iterator[str]:
    seconds = (report.finished_at - report.started_at).total_seconds()
    yield f"{report.task}: {_summary(report)} ({seconds:.2f} s)"
    if not report.actions:
        return
    rows = [_HEADER, *(_row(action) for action in report.actions)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"  {'  '.join(cells)}".rstrip()


def _summary(report: RunReport) -> str:
    if report.failure is not None:
        return f"failed: {report.failure}"
    if report.skipped is not None:
        return f"skipped: {report.skipped}"
    if not report.actions:
        return "nothing to do"
    troubled = sum(not action.ok for action in report.actions)
    count = f"{len(report.actions)} action{'s' if len(report.actions) > 1 else ''}"
    return f"{count}, {troubled} not ok" if troubled else count


def _row(action: Action) -> tuple[str, ...]:
    return (
        "ok" if action.ok else "FAIL",
        _shortened(action.market_id),
        action.action,
        _shortened(action.signature),
        action.detail,
    )


def _shortened(text: str | None) -> str:
    if text is None:
        return "-"
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}…"

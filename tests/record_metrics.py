"""Writes the tables of docs/metrics.md from what the registry declares.

`python -m tests.record_metrics`, whenever a metric has changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.metric_catalogue import OWN, Declared, declared

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
MARKER = "<!-- The rest is made by `python -m tests.record_metrics`. -->\n\n"
_HEAD = "| metric | kind | unit | labels | what it says |\n|---|---|---|---|---|\n"


def page(text: str) -> str:
    """The page with the present tables."""
    prose, marker, _ = text.partition(MARKER)
    assert marker, "the page has the marker that the tables follow"
    own = [one for one in declared() if one.name.startswith(OWN)]
    daemon = _table(one for one in own if not one.is_of_the_system)
    system = _table(one for one in own if one.is_of_the_system)
    return f"{prose}{marker}## Of this daemon\n\n{daemon}\n## Of the whole system\n\n{system}"


def _table(metrics: Iterable[Declared]) -> str:
    return _HEAD + "".join(map(_row, metrics))


def _row(one: Declared) -> str:
    labels = ", ".join(f"`{label}`" for label in one.labels) or "-"
    return f"| `{one.name}` | {one.kind} | {one.unit} | {labels} | {one.documentation} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))

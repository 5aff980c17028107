"""What commands print: JSON for programs, tables for people, and progress on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

_GAP = "  "
_SHORT = 12


def print_result(as_json: bool, result: object, text: str) -> None:
    """Print `result` as one line of JSON, or `text`."""
    click.echo(json_line(result) if as_json else text)


def json_line(result: object) -> str:
    """`result` as JSON, in which what is not printed is escaped, as `printable` does in texts."""
    text = msgspec.json.encode(result).decode()
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def printable(text: str) -> str:
    """`text` with escapes for what is not printed, except line feeds.

    The words of a node or of a stranger must not move the terminal's cursor, or reverse the text after them.
    """
    return "".join(one if one.isprintable() or one == "\n" else repr(one)[1:-1] for one in text)


def table(rows: Iterable[Sequence[str]], *, header: Sequence[str] = (), right: Container[int] = ()) -> str:
    """The rows in aligned columns, under `header` where one is given; "" when there are no rows.

    The columns whose numbers are in `right` are aligned to the right. A cell is one line of what can be
    printed.
    """
    lines = [[printable(cell).replace("\n", " ") for cell in row] for row in rows]
    if not lines:
        return ""
    if header:
        lines.insert(0, list(header))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        _GAP.join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def shortened(text: str | None) -> str:
    """An id or a signature for people, by which they find it."""
    if text is None:
        return "-"
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}…"


def shown(file: Path) -> str:
    """A path as people would type it here: relative where it is below this folder."""
    here = Path.cwd()
    return str(file.relative_to(here)) if file.is_relative_to(here) else str(file)


@contextmanager
def progress_bar(quiet: bool, label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, moved by calls with (done, total). It is shown only on a terminal, unless `quiet`."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with click.progressbar(length=1, label=label, show_pos=True, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield show

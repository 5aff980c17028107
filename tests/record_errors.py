"""Writes the tables of docs/errors.md: every code of an error, with what it means.

`python -m tests.record_errors`, whenever an error has changed.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator
from importlib import import_module
from inspect import cleandoc
from pathlib import Path

import zmartd
from zmartd.chain.failures import refusal_names
from zmartd.chain.idl import default_idl
from zmartd.errors import ZmartdError
from zmartd.http.errors.statuses import program_code, status_of
from zmartd.http.openapi.declared_errors import told_errors, told_kinds
from zmartd.http.ws.actions import ACTIONS, ANY_MESSAGE, UNASKED

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"
MARKER = "<!-- The rest is made by `python -m tests.record_errors`. -->\n\n"
_UNTOLD = "zmartd.embedded"
"""What development servers raise is no matter of those who use or run a daemon."""


def page(text: str) -> str:
    """The page with the present tables."""
    prose, marker, _ = text.partition(MARKER)
    assert marker, "the page has the marker that the tables follow"
    return prose + marker + "\n".join(_tables())


def _tables() -> Iterator[str]:
    kinds = _all_kinds()
    told = told_errors()
    known = {kind.code for kind in told}
    yield "## In answers\n\n| status | `code` | what it means |\n|---|---|---|\n" + "".join(
        f"| {status_of(kind)} | `{kind.code}` | {_meaning(kind)} |\n"
        for kind in sorted(told, key=lambda kind: (status_of(kind), kind.code))
    )
    framed = _by_code(
        told_kinds(
            [*UNASKED, *ANY_MESSAGE, *(error for action in ACTIONS.values() for error in action.errors)]
        ),
        known,
    )
    yield "## In frames of the WebSocket alone\n\n" + _rows(framed)
    known |= {kind.code for kind in framed}
    refusals = sorted({program_code(name) for name in refusal_names(default_idl())} - known)
    yield (
        "## What the program and the chain refuse\n\nIn answers with status 422; `error` is the refusal's "
        f"own name, and `message` says it in words:\n{_wrapped(refusals)}\n"
    )
    known |= set(refusals)
    yield "## For operators\n\nIn the log, in `zmartd` commands, and in the ledger of tasks.\n\n" + _rows(
        _by_code(kinds, known)
    )


def _rows(kinds: Iterable[type[ZmartdError]]) -> str:
    rows = "".join(f"| `{kind.code}` | {_meaning(kind)} |\n" for kind in kinds)
    return f"| `code` | what it means |\n|---|---|\n{rows}"


def _by_code(kinds: Iterable[type[ZmartdError]], known: set[str]) -> list[type[ZmartdError]]:
    """One kind for each code that is not known, in their order: the one that has declared it."""
    declared = sorted(kinds, key=lambda kind: (kind.__module__, kind.__name__))
    found = {kind.code: kind for kind in declared if "code" in vars(kind) and kind.code not in known}
    return [found[code] for code in sorted(found)]


def _all_kinds() -> set[type[ZmartdError]]:
    for module in pkgutil.walk_packages(zmartd.__path__, "zmartd."):
        if not module.name.startswith(_UNTOLD) and not module.name.endswith("__main__"):
            import_module(module.name)
    found: set[type[ZmartdError]] = set()
    waiting = [ZmartdError]
    while waiting:
        children = waiting.pop().__subclasses__()
        waiting += children
        found.update(
            kind
            for kind in children
            if kind.__module__.startswith("zmartd.") and not kind.__module__.startswith(_UNTOLD)
        )
    return found


def _meaning(kind: type[ZmartdError]) -> str:
    first = cleandoc(kind.__doc__ or "").split("\n\n")[0]
    return " ".join(first.split()).replace("|", "\\|")


def _wrapped(codes: Iterable[str]) -> str:
    return ", ".join(f"`{code}`" for code in codes) + "."


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))

"""While a connection is held only the database is waited for: a slow node would use up the pool."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import zmartd

OPENING = {"service", "caller", "reader", "service_reader"}
FAULT_POINT = "reached"


def blocks(tree: ast.AST) -> Iterator[tuple[ast.AsyncWith, set[str]]]:
    """The blocks that hold a connection, with the names they have for it."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.AsyncWith):
            continue
        names = {
            item.optional_vars.id
            for item in node.items
            if isinstance(item.context_expr, ast.Call)
            and isinstance(item.context_expr.func, ast.Attribute)
            and item.context_expr.func.attr in OPENING
            and isinstance(item.optional_vars, ast.Name)
        }
        if names:
            yield node, names


def waits_for_others(awaited: ast.Await, connections: set[str]) -> bool:
    """Whether neither a connection is in what is awaited, nor a point at which a test ends the process."""
    names = {node.id for node in ast.walk(awaited.value) if isinstance(node, ast.Name)}
    return not names & {*connections, FAULT_POINT}


def test_a_block_that_holds_a_connection_waits_for_nothing_else() -> None:
    found, seen = [], 0
    for path in sorted(Path(zmartd.__file__).parent.rglob("*.py")):
        for block, connections in blocks(ast.parse(path.read_text())):
            seen += 1
            inner = [node for part in block.body for node in ast.walk(part)]
            found += [
                f"{path.name}:{node.lineno}: {ast.unparse(node)}"
                for node in inner
                if isinstance(node, ast.Await) and waits_for_others(node, connections)
            ]
    assert seen > 100
    assert found == []

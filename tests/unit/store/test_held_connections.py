"""While a connection is held, nothing is awaited but the database: a slow node would use up the pool."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3] / "zmartd"
_OPENS = re.compile(r"\.(service|caller|reader|service_reader)\(|[cC]onnection\(")
_NODE = re.compile(r"\brpc\b|\b_rpc\b|keys\.RPC")
_FAULT_POINTS = "reached"


def _held(block: ast.AsyncWith) -> set[str]:
    """The names that a block gives to connections."""
    return {
        item.optional_vars.id
        for item in block.items
        if isinstance(item.optional_vars, ast.Name) and _OPENS.search(ast.unparse(item.context_expr))
    }


def _awaited_beside(node: ast.AST, held: set[str]) -> Iterator[ast.Await]:
    """What is awaited in `node` without a connection although one is held."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.AsyncFunctionDef | ast.FunctionDef | ast.Lambda):
            yield from _awaited_beside(child, set())
            continue
        here = held | _held(child) if isinstance(child, ast.AsyncWith) else held
        if held and isinstance(child, ast.Await):
            names = {one.id for one in ast.walk(child) if isinstance(one, ast.Name)}
            if not names & (held | {_FAULT_POINTS}):
                yield child
        yield from _awaited_beside(child, here)


@cache
def _sources() -> list[tuple[Path, ast.Module]]:
    return [(path.relative_to(ROOT), ast.parse(path.read_text())) for path in sorted(ROOT.rglob("*.py"))]


def test_what_is_awaited_while_a_connection_is_held_is_given_that_connection() -> None:
    beside = [
        f"{path}:{one.lineno} {ast.unparse(one)}"
        for path, module in _sources()
        for one in _awaited_beside(module, set())
    ]
    assert beside == []


def test_what_is_given_a_connection_asks_no_node() -> None:
    asking = [
        f"{path}:{function.lineno} {function.name}"
        for path, module in _sources()
        for function in ast.walk(module)
        if isinstance(function, ast.AsyncFunctionDef)
        and any(
            one.annotation is not None and ast.unparse(one.annotation) in {"Connection", "Reads"}
            for one in function.args.args
        )
        and _NODE.search(ast.unparse(function))
    ]
    assert asking == []

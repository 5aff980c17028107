"""What structs say about their fields: the text that stands right under a field in the source."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from msgspec import Struct

_Docs = dict[str, str]


def field_docs(kind: type[Struct]) -> _Docs:
    """The texts, each on one line, by the fields' names in Python; of two about one field that of the class
    nearer to `kind`. Empty where there is no source to read.
    """
    docs: _Docs = {}
    for one in reversed(kind.__mro__):
        docs |= _of_module(one.__module__).get(one.__qualname__, {})
    return docs


@cache
def _of_module(name: str) -> dict[str, _Docs]:
    """By the name of each class at the module's top."""
    try:
        source = inspect.getsource(sys.modules[name])
    except (KeyError, OSError, TypeError):
        return {}
    classes = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    return {node.name: dict(_of_class(node)) for node in classes}


def _of_class(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(node.body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str() as text)),
            ):
                yield name, " ".join(text.split())

from __future__ import annotations

import pkgutil
from importlib import import_module

import zmartd.http
from zmartd.http import routes
from zmartd.http.kit.operation import Operation


def test_every_operation_of_every_module_has_a_route() -> None:
    declared: set[tuple[str, str]] = set()
    for module in pkgutil.walk_packages(zmartd.http.__path__, "zmartd.http."):
        for value in vars(import_module(module.name)).values():
            for one in value if isinstance(value, tuple) else ():
                if isinstance(one, Operation):
                    declared.add((one.method, one.path))
    assert declared == {(one.method, one.path) for one in routes.OPERATIONS}
    assert len(declared) == len(routes.OPERATIONS)

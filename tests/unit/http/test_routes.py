from __future__ import annotations

import pkgutil
from importlib import import_module
from inspect import getsource

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


READ_FROM_REPLICA = {
    "/api/discussions/{id}",
    "/api/markets",
    "/api/markets/activity",
    "/api/markets/categories",
    "/api/markets/trending",
    "/api/markets/{id}/candles",
    "/api/markets/{id}/discussions",
    "/api/markets/{id}/events",
    "/api/markets/{id}/holders",
    "/api/markets/{id}/price-history",
    "/api/markets/{id}/related",
    "/api/markets/{id}/trades",
    "/api/trades",
    "/api/trades/history",
    "/api/users/{wallet}/trades",
    "/api/users/{wallet}/votes",
}


def test_only_lists_history_and_candles_are_read_from_a_replica() -> None:
    assert {one.path for one in routes.OPERATIONS if one.from_replica} == READ_FROM_REPLICA


def test_what_may_be_read_from_a_replica_is_read_where_the_call_says() -> None:
    """One that reads at the primary besides would make an answer of two states of the database."""
    for operation in routes.OPERATIONS:
        if operation.from_replica:
            source = getsource(operation.handler)
            assert "keys.DATABASE" not in source, operation.path

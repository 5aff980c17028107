"""Which answers are kept in memory."""

from __future__ import annotations

import msgspec

from zmartd.http.kit.operation import Handler, Operation
from zmartd.http.response_cache import reads

_MARKET = "/api/markets/{id}"
_PAGES = {
    "/api/markets": ("state", "category", "limit", "sort"),
    "/api/markets/trending": ("limit",),
    "/api/markets/categories": (),
    "/api/stats": (),
}
"""Paths whose answers are about many markets, with the parameters of the queries that are kept."""


def kept_in_memory(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """`operations`, those that are asked for all the time with handlers that remember what they answered."""
    return tuple(_kept(operation) for operation in operations)


def _kept(operation: Operation) -> Operation:
    if operation.method != "GET":
        return operation
    if operation.path == _MARKET:
        return _remembering(operation, reads.market(operation.handler))
    if operation.path in _PAGES:
        return _remembering(operation, reads.page(operation.handler, _PAGES[operation.path]))
    return operation


def _remembering(operation: Operation, handler: Handler) -> Operation:
    return msgspec.structs.replace(operation, handler=handler, answers={**operation.answers, 304: None})

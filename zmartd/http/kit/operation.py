"""What the API can do, said once: routes, validation and the OpenAPI document all come from here.

Each module of handlers lists its operations as `OPERATIONS`; `zmartd.http.routes` collects them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

from zmartd.errors import ZmartdError
from zmartd.http.kit.fields import Field

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


MACHINES_TAG = "machines"
"""Marks what is for machines alone: it has no rate limit."""


WRITES = frozenset({"POST", "PATCH", "DELETE"})
SESSIONS_PATH = "/api/auth/"
"""Below it nothing is kept of what is answered."""


class Access(Enum):
    """Who may call an operation."""

    PUBLIC = "public"
    """Anybody; a session, when there is one, may show more."""
    WALLET = "wallet"
    """Only a wallet that has signed in, or signed a header where those are accepted."""
    SESSION = "session"
    """Only a wallet with a session: what moves money, or changes the session."""
    HELIUS = "helius"
    """Only Helius, with what its webhook was registered with."""


class Raw(Struct, frozen=True):
    """An answer that is not JSON."""

    media_type: str


def is_json(answer: Any) -> bool:
    """Whether one of the `answers` of an operation is the type of a JSON answer."""
    return answer is not None and not isinstance(answer, Raw)


class Operation(Struct, frozen=True, kw_only=True):
    """One method on one path."""

    method: str
    path: str
    """As aiohttp writes it. `{id}`, `{wallet}` and the like have one meaning wherever they stand."""
    handler: Handler
    summary: str
    """A sentence without a full stop; the handler's docstring, if any, says more."""
    tag: str
    variables: Mapping[str, type[Field]] = {}
    """Those of the path that have another meaning here than elsewhere."""
    query: type[Struct] | None = None
    """What `codec.decode_query` reads."""
    body: Any = None
    """The type that `codec.decode_body` reads."""
    answers: Mapping[int, Any]
    """The type of each successful answer's JSON, by status; None where there is no body."""
    errors: tuple[type[ZmartdError], ...] = ()
    """Those that are special to this operation: what every operation may answer is not repeated."""
    access: Access = Access.PUBLIC

    def route(self) -> web.RouteDef:
        """This operation in aiohttp's table of routes. What can be read answers HEAD, too."""
        if self.method == "GET":
            return web.get(self.path, self.handler)
        return web.route(self.method, self.path, self.handler)


def takes_idempotency_key(operation: Operation) -> bool:
    """Whether the same request with the same key is answered the same."""
    by_a_wallet = operation.access in {Access.WALLET, Access.SESSION}
    return by_a_wallet and operation.method in WRITES and not operation.path.startswith(SESSIONS_PATH)


def says_all_with_its_path(operation: Operation) -> bool:
    """Whether it writes and takes no body."""
    by_a_person = operation.access is not Access.HELIUS
    return by_a_person and operation.method in WRITES and operation.body is None


def wrapped(
    operations: tuple[Operation, ...],
    which: Callable[[Operation], bool],
    wrap: Callable[[Operation], Handler],
) -> tuple[Operation, ...]:
    """`operations`, with what `wrap` makes of them as handlers where `which` says so."""
    return tuple(
        msgspec.structs.replace(operation, handler=wrap(operation)) if which(operation) else operation
        for operation in operations
    )


def by_path(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """`operations` in the order for a table of routes: those on one path together, literals first."""
    return tuple(sorted(operations, key=lambda operation: _precedence(operation.path)))


def _precedence(path: str) -> list[tuple[bool, str]]:
    return [(segment.startswith("{"), segment) for segment in path.split("/")]

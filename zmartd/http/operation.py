"""What the API can do, said once: routes, validation and the OpenAPI document all come from here.

Each module of handlers lists its operations as `OPERATIONS`; `zmartd.http.routes` collects them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Any

from aiohttp import web
from msgspec import Struct

from zmartd.errors import ZmartdError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Access(Enum):
    """Who may call an operation."""

    PUBLIC = "public"
    """Anybody; a session, when there is one, may show more."""
    WALLET = "wallet"
    """Only a wallet that has signed in."""


class Operation(Struct, frozen=True, kw_only=True):
    """One method on one path."""

    method: str
    path: str
    """As aiohttp writes it. `{id}`, `{wallet}` and the like have one meaning wherever they stand."""
    handler: Handler
    summary: str
    """A sentence without a full stop; the handler's docstring, if any, says more."""
    tag: str
    query: type[Struct] | None = None
    """What `codec.decode_query` reads."""
    body: type[Struct] | None = None
    """What `codec.decode_body` reads."""
    answers: Mapping[int, Any]
    """The type of each successful answer's JSON, by status; None where there is no body."""
    errors: tuple[type[ZmartdError], ...] = ()
    """Those that are special to this operation: what every operation may answer is not repeated."""
    access: Access = Access.PUBLIC

    def route(self) -> web.RouteDef:
        """This operation in aiohttp's table of routes."""
        return web.route(self.method, self.path, self.handler)

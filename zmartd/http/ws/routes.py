"""The WebSocket among the other operations of the API."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct

from zmartd.http.errors.requests import RouteNotFound
from zmartd.http.errors.websocket import TooManyConnections, UpgradeRequired
from zmartd.http.kit.operation import Call, Operation
from zmartd.http.ws.endpoint import WEBSOCKET


class ConnectionQuery(Struct, frozen=True, kw_only=True):
    token: Annotated[
        str | None, Meta(description="a session's token, for clients that cannot send headers")
    ] = None


async def connect(call: Call[ConnectionQuery]) -> web.StreamResponse:
    """Markets as they change, in frames of JSON.

    Send `{"action": "subscribe", "market_id": ...}` with a market's id, its address or `*`, and
    `{"action": "unsubscribe", ...}` to stop; `{"action": "auth", "token": ...}` signs in later. Each frame is
    `{"type", "market_id", "timestamp", "seq", "data"}`, where `seq` is the market's version. A frame
    `session_ended` says, with the code of an error, that the session is over, within a second of its end.
    """
    return await call.app[WEBSOCKET].serve(call.request)


async def connect_with_slash(call: Call[ConnectionQuery]) -> web.StreamResponse:
    """The same as /ws."""
    return await call.app[WEBSOCKET].serve(call.request)


async def connect_at_root(call: Call[ConnectionQuery]) -> web.StreamResponse:
    """The same as /ws, for clients that connect to the daemon's root. Anything else finds nothing here."""
    return await call.app[WEBSOCKET].serve_root(call.request)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/ws",
        handler=connect,
        summary="Watch markets over a WebSocket",
        tag="realtime",
        query=ConnectionQuery,
        answers={101: None},
        errors=(UpgradeRequired, TooManyConnections),
    ),
    Operation(
        method="GET",
        path="/ws/",
        handler=connect_with_slash,
        summary="Watch markets over a WebSocket",
        tag="realtime",
        query=ConnectionQuery,
        answers={101: None},
        errors=(UpgradeRequired, TooManyConnections),
    ),
    Operation(
        method="GET",
        path="/",
        handler=connect_at_root,
        summary="Watch markets over a WebSocket",
        tag="realtime",
        query=ConnectionQuery,
        answers={101: None},
        errors=(RouteNotFound, TooManyConnections),
    ),
)

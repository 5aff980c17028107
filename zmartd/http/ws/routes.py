"""The routes of the WebSocket."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct

from zmartd.http.errors.websocket import Restarting, TooManyConnections, UpgradeRequired
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.ws.endpoint import WEBSOCKET


class ConnectionQuery(Struct, frozen=True, kw_only=True):
    token: Annotated[
        str | None, Meta(description="a session's token, for clients that cannot send headers")
    ] = None


async def connect(call: Call[ConnectionQuery]) -> web.StreamResponse:
    """Subscribe to changes of markets, sent as JSON frames.

    Send `{"action": "subscribe", "market_id": ...}` with a market's id, its address, or `*` for all
    markets, and `{"action": "unsubscribe", ...}` to stop. `{"action": "auth", "token": ...}` signs in on an
    open connection. Within a second after a session has ended, a frame `session_ended` says so, with the
    code of an error as the reason. `{"action": "ping"}`, or the text `PING`, gets a frame `pong` whose data
    are the chain's newest `slot` that the daemon knows (null before it knows any) and the `time`.
    `"channel": "user"` instead of `market_id` subscribes to what is for the session's wallet alone: its
    fills, positions and claims, and the fate of its transactions. `channels` is a list of several, and
    `kinds`, `category`, `min_cost` and `wallet` limit what they get.
    Each of these may have an `id`, which is then that of its answer. A message with an unknown action, key or
    market does nothing: a frame `error` names what is wrong, and the nearest right name.

    Each frame is `{"type", "id", "market_id", "channel", "timestamp", "epoch", "seq", "prev_seq",
    "commitment", "data"}`. `seq` numbers what is told of a market or a wallet, without gaps and on every
    daemon alike. After a disconnect, `"since": {"epoch", "seq"}` in a subscription resumes, and so does the
    text `epoch:seq`, as `stream_position` has it: everything after that position follows, or the answer has
    `recovered: false` and the market's state.
    A frame `retracted` takes back a trade or vote that a fork has taken, by its id; it may be announced
    again. A frame `commitment` names trades and votes that no fork can take any more. Frames about
    comments, and about votes through the API, have no commitment: no fork takes these.
    """
    return await call.app[WEBSOCKET].serve(call.request)


async def connect_with_slash(call: Call[ConnectionQuery]) -> web.StreamResponse:
    """The same as /ws."""
    return await call.app[WEBSOCKET].serve(call.request)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/ws",
        handler=connect,
        name="connect_websocket",
        summary="Subscribe to markets over a WebSocket",
        tag="realtime",
        access=Access.PUBLIC,
        query=ConnectionQuery,
        responses={101: None},
        errors=(UpgradeRequired, TooManyConnections, Restarting),
    ),
    Operation(
        method="GET",
        path="/ws/",
        handler=connect_with_slash,
        name="connect_websocket_with_slash",
        summary="Subscribe to markets over a WebSocket",
        tag="realtime",
        access=Access.PUBLIC,
        query=ConnectionQuery,
        responses={101: None},
        errors=(UpgradeRequired, TooManyConnections, Restarting),
    ),
)

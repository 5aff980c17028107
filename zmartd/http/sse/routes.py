"""The route of the streams as Server-Sent Events."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct

from zmartd.http.errors.auth import SessionsUnavailable, Unauthorized
from zmartd.http.errors.websocket import TooManyConnections, UnknownChannel
from zmartd.http.kit.fields import Text
from zmartd.http.kit.operation import Access, Call, NonJson, Operation
from zmartd.http.sse.endpoint import MAX_CHANNELS, MEDIA_TYPE, EventStreams
from zmartd.http.ws.endpoint import WEBSOCKET
from zmartd.realtime.followed import StreamUnavailable
from zmartd.realtime.subscription_errors import ForeignStream
from zmartd.store.markets import MarketNotFound


class Channels(Text):
    min_length = 1
    max_length = 100 * MAX_CHANNELS


class EventId(Text):
    min_length = 1
    max_length = 17 + 17 * MAX_CHANNELS


class EventsQuery(Struct, frozen=True, kw_only=True):
    channels: Annotated[
        Channels,
        Meta(
            description=f'1 to {MAX_CHANNELS} channels, separated by commas: "market:" and its id or '
            'address, "user" for the session\'s wallet, or "*" for all markets'
        ),
    ]
    since: Annotated[
        EventId | None,
        Meta(
            description="the id of the last event, where the header Last-Event-ID cannot be sent; of one "
            "market the same as Stream-Position"
        ),
    ] = None
    token: Annotated[
        str | None, Meta(description="a session's token, for clients that cannot send headers")
    ] = None


async def stream_events(call: Call[EventsQuery]) -> web.StreamResponse:
    """The frames of the WebSocket as Server-Sent Events, for EventSource and curl.

    Each event's `data` is one frame. Its `id` is how far the client has come: `epoch:seq`, with more channels
    one seq for each of them in their order, separated by commas, `-` where it is not known. A client that
    sends the last id as the header `Last-Event-ID`, as EventSource does by itself, gets exactly what came
    after it, or a state with `recovered: false`. The last event before the daemon closes the stream has the
    type `end`, and the close code and reason of the WebSocket. A stream counts as a WebSocket connection.
    """
    token = call.input.token
    sessions = call.app[WEBSOCKET].services.sessions
    session = call.identity.session if token is None else await sessions.recognise(token)
    if token is None and call.identity.refused is not None:
        raise call.identity.refused
    channels = call.input.channels.split(",")
    return await EventStreams(call.app[WEBSOCKET]).serve(call.request, session, channels, call.input.since)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/stream",
        handler=stream_events,
        summary="Follow markets as Server-Sent Events",
        tag="realtime",
        access=Access.PUBLIC,
        query=EventsQuery,
        responses={200: NonJson(MEDIA_TYPE)},
        errors=(
            MarketNotFound,
            Unauthorized,
            UnknownChannel,
            ForeignStream,
            SessionsUnavailable,
            TooManyConnections,
            StreamUnavailable,
        ),
    ),
)

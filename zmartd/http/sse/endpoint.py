"""Serves the streams of markets, and of the session's wallet, as Server-Sent Events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from aiohttp import hdrs, web
from msgspec.structs import replace

from zmartd.http.errors.auth import Unauthorized
from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit.client_address import client_of
from zmartd.http.kit.identity import Session
from zmartd.http.sse.event_ids import EventIds, positions
from zmartd.http.sse.event_stream import EventStream, event
from zmartd.http.ws.endpoint import WebSocketEndpoint
from zmartd.http.ws.subscriptions import name_of
from zmartd.realtime.client import Client
from zmartd.realtime.close_codes import CloseCode
from zmartd.realtime.hub import Hub
from zmartd.realtime.subscription_errors import ForeignStream, TooManySubscriptions, UnknownMarket
from zmartd.store.markets import MarketNotFound, MarketReference
from zmartd.store.streams import StreamPosition

MEDIA_TYPE: Final = "text/event-stream"
LAST_EVENT_ID: Final = "Last-Event-ID"
MAX_CHANNELS: Final = 50
_SIGN_IN: Final = "send the token of a session, as a header or as token"
_HEADERS = {
    hdrs.CONTENT_TYPE: f"{MEDIA_TYPE}; charset=utf-8",
    hdrs.CACHE_CONTROL: "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep events until it has more
}


class SignedInStream:
    """The session of a client that gets events. With its end the stream ends, too."""

    def __init__(self, hub: Hub, client: Client) -> None:
        self._hub = hub
        self._client = client

    def set_trusted(self, trusted: bool) -> None:
        """Whether the client gets what signed-in wallets get."""
        self._hub.set_trusted(self._client, trusted)

    def end_session(self, session: Session, reason: Unauthorized) -> None:
        """End the stream of a client that is not signed in any more."""
        self._hub.sign_out(self._client)
        self._client.close(CloseCode.POLICY_VIOLATION, reason.code)


class EventStreams:
    """Serves events to clients, which count as connections like those of WebSockets."""

    def __init__(self, websocket: WebSocketEndpoint) -> None:
        self._websocket = websocket
        self._services = websocket.services

    async def serve(
        self, request: web.Request, session: Session | None, channels: Sequence[str], since: str | None
    ) -> web.StreamResponse:
        """Send what is told in these channels, after where the client was, until it disconnects.

        `since`: an event id; the header Last-Event-ID takes precedence. Raises InvalidRequest,
        MarketNotFound, UnknownChannel, SessionRequired, ForeignStream, TooManyConnections,
        StreamUnavailable.
        """
        names = names_of(channels, session)
        known = _known(names, request.headers.get(LAST_EVENT_ID) or None, since)
        response = web.Response(headers=_HEADERS)
        response.force_close()
        transport = request.transport
        if request.method == hdrs.METH_HEAD or transport is None:
            return response
        owner = client_of(request)
        await self._websocket.take_place(owner)
        stream = EventStream(transport, EventIds(names, known))
        client = self._services.hub.connect(stream, event)
        self._websocket.end_if_closing(client)
        signed_in = SignedInStream(self._services.hub, client)
        life = asyncio.create_task(self._end(owner, stream, client, signed_in), name="events of a client")
        self._services.tasks.add(life)
        life.add_done_callback(self._services.tasks.discard)
        try:
            if session is not None:
                self._services.hub.sign_in(client, session.wallet)
                self._services.monitor.add(signed_in, session)
            for name, position in zip(names, known, strict=True):
                await self._services.hub.subscribe(client, name, since=position)
        except ForeignStream as error:
            stream.end()
            error.details = replace(error.details, field="channels")
            raise
        except UnknownMarket as error:
            stream.end()
            raise MarketNotFound(MarketReference(given=error.details.market_id)) from error
        except TooManySubscriptions as error:
            stream.end()
            raise _invalid("must be fewer: a connection may not have so many") from error
        except BaseException:
            stream.end()
            raise
        response.body = stream.chunks(client)
        return response

    async def _end(self, owner: str, stream: EventStream, client: Client, signed_in: SignedInStream) -> None:
        """Give back what the client has, once it is gone."""
        try:
            await stream.ended()
        finally:
            self._services.monitor.remove(signed_in)
            self._services.hub.disconnect(client)
            self._websocket.give_place_back(owner)


def names_of(channels: Sequence[str], session: Session | None) -> list[str]:
    """The hub's names of these channels. Raises InvalidRequest, UnknownChannel, SessionRequired."""
    if len(channels) > MAX_CHANNELS:
        raise _invalid(f"must be at most {MAX_CHANNELS}")
    wallet = None if session is None else session.wallet
    names: list[str] = []
    for channel in channels:
        name = name_of(channel, wallet, "channels", _SIGN_IN)
        if name in names:
            raise _invalid(f'must not name "{channel}" twice')
        names.append(name)
    return names


def _invalid(rule: str) -> InvalidRequest:
    return InvalidRequest(Problem("channels", rule))


def _known(names: Sequence[str], last: str | None, since: str | None) -> list[StreamPosition | None]:
    """Where the client was in each of its channels. Raises InvalidRequest."""
    field, event_id = ("since", since) if last is None else (LAST_EVENT_ID, last)
    if event_id is None:
        return [None] * len(names)
    try:
        return positions(event_id, len(names))
    except ValueError as error:
        raise InvalidRequest(Problem(field, str(error))) from error

"""WebSockets that outlive their process: the service manager keeps them until the next one goes on with them.

Kept are those on which nothing is under way, which is nearly all: the state of each is then a few names and
numbers, and what its client sends meanwhile waits in the system.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol, cast

import msgspec
from msgspec import Struct

from zmartd.clock import Clock
from zmartd.http.ws.connection import WebSocketConnection
from zmartd.http.ws.socket import close_frame
from zmartd.realtime.close_codes import CloseCode
from zmartd.realtime.hub import Hub
from zmartd.realtime.hub_state import HubState
from zmartd.socket_bundle import Bundle, NotABundle, unpack

VERSION: Final = 1
"""Of `KeptState`: another one is not understood."""
REST_SECONDS: Final = 1.0
"""How long messages that are being acted on may take, and then clients to read what they were sent."""
LOOK_SECONDS: Final = 0.01
AT_ONCE: Final = 500
"""Connections that are taken over in one turn of the event loop."""


class Keeper(Protocol):
    """Who keeps a descriptor for the next process."""

    async def keep(self, descriptor: int) -> bool:
        """Whether that could be asked for. Then either it has the descriptor, or has closed it."""


class KeptClient(Struct, frozen=True, array_like=True):
    """One client: in whose places it counts, and what its connection and the hub know of it."""

    owner: str
    deflates: bool
    wallet: str | None
    token: str | None
    subscriptions: list[int]
    """By their places in the state of the hub."""


class KeptState(Struct, frozen=True):
    """What goes with the sockets: the clients are in their order."""

    version: int
    hub: HubState
    clients: list[KeptClient]


class Arrived(asyncio.Protocol):
    """A kept connection until a WebSocket goes on with it."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.transport is not None:  # what follows waits in the system, however many are taken over
            self.transport.pause_reading()


async def leave(connections: Sequence[WebSocketConnection], hub: Hub, keeper: Keeper, clock: Clock) -> int:
    """Have `keeper` keep these connections, and close them here. Returns how many it has.

    The others read no more, and may have left the hub: they are to be closed.
    """
    for connection in connections:
        connection.socket.rest()
    await _until(lambda: not any(one.is_acting for one in connections), clock)
    resting = [one for one in connections if one.is_at_rest]
    for connection in resting:
        connection.leave()
    state, places = hub.leave([one.client for one in resting])
    await _until(lambda: all(one.is_at_rest for one in resting), clock)
    leaving = [
        (one, subscriptions)
        for one, subscriptions in zip(resting, places, strict=True)
        if subscriptions is not None and one.is_at_rest
    ]
    for one, _ in leaving:
        one.socket.fall_silent()
    with Bundle() as bundle:
        count = bundle.add([one.socket.descriptor for one, _ in leaving])
        kept = leaving[:count]
        clients = [_described(one, subscriptions) for one, subscriptions in kept]
        bundle.describe(msgspec.json.encode(KeptState(VERSION, state, clients)))
        if not kept or not await keeper.keep(bundle.reader.fileno()):
            return 0
        bundle.give_away()
        if not bundle.has_reader():
            return 0
    for connection, _ in kept:
        connection.socket.let_go()
    return len(kept)


def read(kept: socket.socket) -> tuple[KeptState, list[socket.socket]]:
    """What was kept. Raises NotABundle, and then has sent clients away that nothing is known of."""
    encoded, sockets = unpack(kept)
    try:
        state = msgspec.json.decode(encoded, type=KeptState)
        if state.version != VERSION:
            raise msgspec.ValidationError(f"version {state.version}")
    except msgspec.DecodeError as error:
        for one in sockets:
            with one, suppress(OSError):
                one.send(close_frame(CloseCode.SERVICE_RESTART, "the daemon was replaced by another version"))
        raise NotABundle(
            f"{len(sockets)} WebSockets were kept in a way that is not known: {error}"
        ) from error
    return state, sockets


async def arrivals(state: KeptState, sockets: Sequence[socket.socket]) -> list[tuple[KeptClient, Arrived]]:
    """The connections that could be taken over, each with whose it is."""
    loop = asyncio.get_running_loop()
    arrived: list[tuple[KeptClient, Arrived]] = []
    for start in range(0, len(sockets), AT_ONCE):
        some = sockets[start : start + AT_ONCE]
        made = await asyncio.gather(
            *(loop.connect_accepted_socket(Arrived, one) for one in some), return_exceptions=True
        )
        for client, result in zip(state.clients[start:], made, strict=False):
            if not isinstance(result, BaseException):
                arrived.append((client, result[1]))
    return arrived


def _described(connection: WebSocketConnection, subscriptions: list[int]) -> KeptClient:
    client, socket = connection.client, connection.socket
    return KeptClient(socket.owner, socket.deflates, client.wallet, connection.token, subscriptions)


async def _until(condition: Callable[[], bool], clock: Clock) -> None:
    """Return when it holds, or after REST_SECONDS."""
    deadline = clock.monotonic() + REST_SECONDS
    while not condition() and clock.monotonic() < deadline:
        await clock.sleep(LOOK_SECONDS)

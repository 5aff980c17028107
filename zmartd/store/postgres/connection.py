"""Opens a connection to Postgres; nothing else does."""

from __future__ import annotations

import socket
from typing import Any, Final

import asyncpg
from asyncpg import Connection

from zmartd.store.postgres.errors import connection_error

APPLICATION_NAME = "zmartd"
_KEEP_ALIVE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
"""A minute of silence, or half a minute with something that nobody acknowledges, ends a connection. Firewalls
forget idle ones after some minutes."""


async def connect(dsn: str, *, timeout_seconds: float, **options: Any) -> Connection:
    """A new connection. `options` are asyncpg's.

    Other settings than this are not asked for here: PgBouncer refuses a client that asks for one that it does
    not know.

    Raises DatabaseUnavailable or DatabaseNotReady, which quote nothing of the URL but host and database.
    """
    try:
        connection: Connection = await asyncpg.connect(
            dsn,
            timeout=timeout_seconds,
            server_settings={"application_name": APPLICATION_NAME},
            **options,
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        raise connection_error(dsn, error) from None
    _keep_alive(connection)
    return connection


def _keep_alive(connection: Connection) -> None:
    """Let the system find out that the server, or a firewall in between, has forgotten the connection."""
    peer = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # not public
    if peer.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):  # not on every system
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

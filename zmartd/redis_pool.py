"""Connections to Redis: at a fixed address, or wherever sentinels say that the primary is."""

from __future__ import annotations

import codecs
import weakref
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection

from zmartd import config, endpoint
from zmartd.config_values import ConfigError, RedisUrl
from zmartd.endpoint import Address

MAX_CONNECTIONS: Final = 32
"""A command waits for one of them, and takes it for a millisecond. Callers can cause thousands at once."""
CONNECT_SECONDS: Final = 5.0
SENTINEL_SECONDS: Final = 1.0
"""How long a sentinel may take to answer, until the next one is asked."""
SENTINEL_PORT: Final = 26379


class RedisPool(BlockingConnectionPool):
    """Counts those who ask for a connection and have none yet."""

    waiting = 0

    async def get_connection(self, *arguments: Any, **options: Any) -> Any:
        self.waiting += 1
        try:
            return await super().get_connection(*arguments, **options)  # type: ignore[no-untyped-call]
        finally:
            self.waiting -= 1


def open_pool(settings: config.RedisSettings) -> RedisPool:
    """A pool that connects when it is used. Raises ConfigError."""
    url = settings.url.reveal()
    try:
        is_local = endpoint.read(url, endpoint.REDIS).scheme == "unix"
        options: dict[str, Any] = {
            "max_connections": MAX_CONNECTIONS,
            "timeout": CONNECT_SECONDS,
            "socket_connect_timeout": CONNECT_SECONDS,
            "health_check_interval": 30,
            **({} if is_local else {"socket_keepalive": True}),
        }
        if settings.sentinels and is_local:
            raise ConfigError(["redis.url: sentinels tell of no socket: write redis:// or rediss://"])
        pool = (
            _PrimaryPool.from_url(url, redis=settings, **options)
            if settings.sentinels
            else RedisPool.from_url(url, **options)
        )
        pool.make_connection()  # type: ignore[no-untyped-call]  # refuses an unknown option in the URL, and connects to nothing
        codecs.lookup(pool.connection_kwargs.get("encoding", "utf-8"))
    except (LookupError, TypeError, ValueError):
        raise ConfigError([f"redis.url: it is not a URL that can be used: write {RedisUrl.form}"]) from None
    return pool


def addresses(settings: config.RedisSettings) -> tuple[Address, ...]:
    """Where a daemon first asks: the sentinels, or else Redis."""
    url = f"redis://{','.join(settings.sentinels)}" if settings.sentinels else settings.url.reveal()
    return endpoint.read(url, endpoint.REDIS).addresses


class _PrimaryPool(RedisPool):
    """Asks the sentinels whenever a connection is opened. What its connections need of it is what they need
    of redis-py's own pool for that, which does not wait for a connection that is in use.
    """

    is_master = True
    check_connection = False

    def __init__(self, redis: config.RedisSettings, **options: Any) -> None:
        is_encrypted = issubclass(options.get("connection_class", object), SSLConnection)
        options["connection_class"] = (
            SentinelManagedSSLConnection if is_encrypted else SentinelManagedConnection
        )
        super().__init__(**options)
        self.connection_kwargs["connection_pool"] = weakref.proxy(self)
        self._service = redis.sentinel_service
        tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]  # of redis-py
            [(one.host, one.port or SENTINEL_PORT) for one in addresses(redis)],
            sentinel_kwargs={
                "socket_timeout": SENTINEL_SECONDS,
                "socket_connect_timeout": SENTINEL_SECONDS,
                "password": redis.sentinel_password.reveal() or None,
                **({"ssl": True, **tls} if is_encrypted else {}),
            },
        )

    async def get_master_address(self) -> tuple[str, int]:
        """Raises ConnectionError of redis-py where no sentinel knows of a primary."""
        host, port = await self._sentinel.discover_master(self._service)
        return host, port

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        await self._sentinel.aclose()

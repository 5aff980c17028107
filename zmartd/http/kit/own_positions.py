"""How far the primary's log had come when a wallet wrote last, for its own reads from a replica.

It is kept in Redis, because the next request may reach another daemon, and so that clients need do nothing.
Some seconds are enough: what was written longer ago is in every answer from a replica.
"""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg
import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from redis.exceptions import RedisError

from zmartd.errors import ZmartdError
from zmartd.http.kit import keys
from zmartd.http.kit.identity import IDENTITY
from zmartd.log import get_logger
from zmartd.store.postgres.replica_errors import PositionUnknown
from zmartd.store.postgres.wal_position import STALE_SECONDS, WalPosition

KEPT_SECONDS: Final = 10 * STALE_SECONDS
ANSWER_SECONDS: Final = 0.5
"""How long Redis and the primary may take to keep a position, or to tell one."""
_KEY: Final = "zmartd:written:"

_decoder = msgspec.json.Decoder(WalPosition)

log = get_logger(__name__)


def keeping_position(handler: Handler) -> Handler:
    """`handler`, of writes: before its caller has the answer, its reads are held to what it has written."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            wallet = request[IDENTITY].caller.wallet
            if wallet is not None and request.app[keys.REPLICA].is_configured:
                await _keep(request.app, wallet)

    return handle


async def _keep(app: web.Application, wallet: str) -> None:
    """The position is one after the write, whether that was done here or, for it, by another daemon."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            position = await app[keys.REPLICA].log.present()
            await app[keys.REDIS].set(
                _KEY + wallet, msgspec.json.encode(position), px=int(KEPT_SECONDS * 1_000)
            )
    except (ZmartdError, asyncpg.PostgresError, RedisError, OSError, TimeoutError) as error:
        log.warning("replica.position_not_kept", reason=str(error) or type(error).__name__)


async def own_position(app: web.Application, wallet: str | None) -> WalPosition | None:
    """What a wallet's reads must have; None where that is nothing in particular. Raises PositionUnknown."""
    if wallet is None:
        return None
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            kept = await app[keys.REDIS].get(_KEY + wallet)
    except (RedisError, OSError, TimeoutError) as error:
        raise PositionUnknown from error
    try:
        return None if kept is None else _decoder.decode(kept)
    except msgspec.DecodeError as error:  # one of a daemon of another version
        raise PositionUnknown from error

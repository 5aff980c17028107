"""Brings a database up to date: its migrations, and what they need beyond their SQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asyncpg import Connection

from zmartd.store import metadata
from zmartd.store.postgres.errors import location
from zmartd.store.postgres.migrations import WAIT_SECONDS, Migration, Tell, connected, migrate, pending
from zmartd.store.postgres.rights import require_rights
from zmartd.store.postgres.rls import SERVICE

_USE_TRIGRAMS = "select zmartd.use_trigrams()"
_HAS_TRIGRAMS = "select to_regclass('public.markets_by_trigrams') is not null"


async def bring_up_to_date(
    dsn: str, *, tell: Tell = lambda line: None, wait_seconds: float = WAIT_SECONDS
) -> tuple[Migration, ...]:
    """Apply the missing migrations and return them, complete older rows, and use pg_trgm if that is possible.

    Takes and raises what `migrate` takes and raises, and RightsMissing before anything is changed.
    """
    if await pending(dsn):
        async with connected(dsn) as connection:
            await require_rights(connection, location(dsn))
    applied = await migrate(dsn, tell=tell, wait_seconds=wait_seconds)
    async with connected(dsn) as connection:
        await connection.execute(_USE_TRIGRAMS)
        for complete in (metadata.add_likenesses, metadata.add_slugs):
            while await _complete(connection, complete):
                pass
    return applied


async def finds_small_mistakes(dsn: str) -> bool:
    """Whether search in this database finds words with small mistakes, for which it needs pg_trgm."""
    async with connected(dsn) as connection:
        return bool(await connection.fetchval(_HAS_TRIGRAMS))


async def _complete(connection: Connection, complete: Callable[[Connection], Awaitable[bool]]) -> bool:
    async with connection.transaction():
        await connection.execute(f"set local role {SERVICE}")
        return await complete(connection)

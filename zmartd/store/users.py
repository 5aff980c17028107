"""Profiles of wallets that have signed in. All of these take a transaction of that wallet."""

from __future__ import annotations

from datetime import datetime

from asyncpg import Connection
from msgspec import Struct

from zmartd.store.postgres.reader import Reads

_SIGN_IN = """
insert into users (wallet) values ($1)
on conflict (wallet) do update set last_seen_at = now()
returning wallet, display_name, avatar_url, bio, twitter_handle, reputation_score, created_at, last_seen_at
"""
_FIND = """
select wallet, display_name, avatar_url, bio, twitter_handle, reputation_score, created_at, last_seen_at
  from users where wallet = $1
"""
_TOUCH = (
    "update users set last_seen_at = now() where wallet = $1 and last_seen_at < now() - interval '1 minute'"
)
_CHANGE = """
update users
   set display_name = case when $2::text is null then display_name else nullif($2, '') end,
       avatar_url = case when $3::text is null then avatar_url else nullif($3, '') end,
       bio = case when $4::text is null then bio else nullif($4, '') end,
       twitter_handle = case when $5::text is null then twitter_handle else nullif($5, '') end
 where wallet = $1
returning wallet, display_name, avatar_url, bio, twitter_handle, reputation_score, created_at, last_seen_at
"""


class User(Struct, frozen=True):
    """One profile."""

    wallet: str
    display_name: str | None
    avatar_url: str | None
    bio: str | None
    twitter_handle: str | None
    reputation_score: int
    created_at: datetime
    last_seen_at: datetime


class Changes(Struct, frozen=True, kw_only=True):
    """What to change in a profile: None leaves it as it is, an empty text removes it."""

    display_name: str | None = None
    avatar_url: str | None = None
    bio: str | None = None
    twitter_handle: str | None = None


async def sign_in(connection: Connection, wallet: str) -> User:
    """The wallet's profile, created at the first sign-in. Later ones change only `last_seen_at`."""
    row = await connection.fetchrow(_SIGN_IN, wallet)
    assert row is not None, "an upsert that returns"
    return User(**dict(row))


async def find(connection: Reads, wallet: str) -> User | None:
    """The wallet's profile."""
    row = await connection.fetchrow(_FIND, wallet)
    return None if row is None else User(**dict(row))


async def change(connection: Connection, wallet: str, changes: Changes) -> User:
    """Change the wallet's profile, which is created if there is none."""
    await sign_in(connection, wallet)
    row = await connection.fetchrow(
        _CHANGE,
        wallet,
        changes.display_name,
        changes.avatar_url,
        changes.bio,
        changes.twitter_handle,
    )
    assert row is not None, "the profile was created above"
    return User(**dict(row))


async def touch(connection: Connection, wallet: str) -> None:
    """Update `last_seen_at`, at most once a minute."""
    await connection.execute(_TOUCH, wallet)

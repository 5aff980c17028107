"""Profiles of wallets that have signed in. Nothing else needs one."""

from __future__ import annotations

from datetime import datetime

from asyncpg import Connection
from msgspec import Struct

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


async def sign_in(connection: Connection, wallet: str) -> User:
    """The wallet's profile, made at the first sign-in and never reset by later ones.

    Takes a transaction of that wallet's.
    """
    row = await connection.fetchrow(_SIGN_IN, wallet)
    assert row is not None, "an upsert that returns"
    return User(**dict(row))


async def find(connection: Connection, wallet: str) -> User | None:
    """The wallet's profile. Takes a transaction of that wallet's."""
    row = await connection.fetchrow(_FIND, wallet)
    return None if row is None else User(**dict(row))


async def touch(connection: Connection, wallet: str) -> None:
    """Remember that the wallet was here, to the minute. Takes a transaction of that wallet's."""
    await connection.execute(_TOUCH, wallet)

"""Holders who ask for a dispute of a market's proposed outcome."""

from __future__ import annotations

import asyncpg
from asyncpg import Connection
from msgspec import Struct

from zmartd.errors import ZmartdError

_REQUEST = """
insert into dispute_requests (market_id, user_wallet) values ($1, $2)
on conflict do nothing returning true
"""
_STANDING = """
select (select count(*) from dispute_requests where market_id = $1) as requests,
       (select count(*) from user_positions
         where market_id = $1 and (shares_yes > 0 or shares_no > 0)) as holders
"""


class DisputeRequestRefused(ZmartdError):
    """Only who holds shares of a market can ask for its dispute, and only while it is RESOLVING."""

    code = "dispute_request_refused"


class Standing(Struct, frozen=True):
    """How many of a market's holders ask for a dispute."""

    requests: int
    holders: int


async def request(connection: Connection, market_id: str, wallet: str) -> bool:
    """Ask for a dispute; False when the wallet has already done so.

    Takes a transaction of that wallet's, which fails as a whole with DisputeRequestRefused.
    """
    try:
        return bool(await connection.fetchval(_REQUEST, market_id, wallet))
    except asyncpg.InsufficientPrivilegeError as error:
        raise DisputeRequestRefused(market_id=market_id) from error


async def standing(connection: Connection, market_id: str) -> Standing:
    """How the petition stands. Takes a service transaction: who holds and asks is private."""
    row = await connection.fetchrow(_STANDING, market_id)
    assert row is not None, "a row of counts"
    return Standing(row["requests"], row["holders"])

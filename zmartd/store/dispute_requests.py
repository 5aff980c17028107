"""Holders' requests to dispute a market's proposed outcome."""

from __future__ import annotations

import asyncpg
from asyncpg import Connection
from msgspec import Struct

from zmartd.errors import AboutMarket, DetailedError
from zmartd.store.postgres.reader import Reads
from zmartd.store.votes import RESOLUTION_REPLACED

_REQUEST = """
insert into dispute_requests (market_id, user_wallet) values ($1, $2)
on conflict do nothing returning true
"""
_COUNTS = """
select count(*) filter (where held.stake >= $2 and asked.user_wallet is not null) as requests,
       count(*) filter (where held.stake >= $2) as holders
  from dispute_electorate as held left join dispute_requests as asked using (market_id, user_wallet)
 where held.market_id = $1
"""


class DisputeRequestRefused(DetailedError[AboutMarket]):
    """Only wallets that held shares of a market when its outcome was proposed can ask for its dispute, and
    only while the market is RESOLVING; sign in with one that did.
    """

    code = "dispute_request_refused"


class RequestCounts(Struct, frozen=True):
    """How many of a market's holders have requested a dispute, of those with at least the minimum stake."""

    requests: int
    holders: int


async def request(connection: Connection, market_id: str, wallet: str) -> bool:
    """Request a dispute; False if the wallet has requested it before.

    Takes a transaction of that wallet, which DisputeRequestRefused aborts.
    """
    try:
        return bool(await connection.fetchval(_REQUEST, market_id, wallet))
    except asyncpg.InsufficientPrivilegeError as error:
        raise DisputeRequestRefused(AboutMarket(market_id)) from error
    except asyncpg.PostgresError as error:
        if error.sqlstate != RESOLUTION_REPLACED:
            raise
        raise DisputeRequestRefused(
            AboutMarket(market_id),
            "The proposed outcome was replaced by another while this request was made, so it does not count; "
            "read the market again before you request a dispute.",
        ) from error


async def counts(connection: Reads, market_id: str, min_stake_lamports: int) -> RequestCounts:
    """The counts for a market. Takes a service reader: holdings and requests are private."""
    row = await connection.fetchrow(_COUNTS, market_id, min_stake_lamports)
    assert row is not None, "a row of counts"
    return RequestCounts(row["requests"], row["holders"])

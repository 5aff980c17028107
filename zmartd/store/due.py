"""Markets that a periodic task has to look at. All of these take a service transaction.

Times are compared with what the caller says is now, because only the chain's clock decides what is due.
"""

from __future__ import annotations

from datetime import datetime

from asyncpg import Connection
from msgspec import Struct

from zmartd.store.votes import VoteCounts

_PASSED_PROPOSALS = """
select market.id, market.on_chain_address,
       count(*) filter (where vote.vote) as yes, count(*) filter (where not vote.vote) as no
  from markets as market join proposal_votes as vote on vote.market_id = market.id
 where market.state = 'PROPOSED' and market.chain_confirmed
   and not exists (select from market_finalization_errors as failed
                    where failed.market_id = market.id and failed.resolved_at is null
                      and failed.next_attempt_at > $3)
 group by market.id
having count(*) >= $1 and count(*) filter (where vote.vote) * 10000 / count(*) >= $2
 order by market.created_at, market.id
"""
_ENDED_DISPUTES = """
select market.id, market.on_chain_address,
       count(vote.vote) filter (where vote.vote) as yes, count(vote.vote) filter (where not vote.vote) as no
  from markets as market left join dispute_votes as vote on vote.market_id = market.id
 where market.state = 'DISPUTED' and market.dispute_initiated_at <= $1
   and not exists (select from market_finalization_errors as failed
                    where failed.market_id = market.id and failed.resolved_at is null
                      and failed.next_attempt_at > $2)
 group by market.id
 order by market.dispute_initiated_at, market.id
"""
_UNDISPUTED = """
select market.id, market.on_chain_address, market.resolution_proposed_at
  from markets as market
 where market.state = 'RESOLVING' and market.resolution_proposed_at <= $1
   and not exists (select from market_finalization_errors as failed
                    where failed.market_id = market.id and failed.resolved_at is null
                      and failed.next_attempt_at > $2)
 order by market.resolution_proposed_at, market.id
 limit $3
"""
_PETITIONS = """
select market.id, market.on_chain_address, market.resolution_proposed_at,
       (select count(*) from dispute_requests as asked where asked.market_id = market.id) as requests,
       (select count(*) from user_positions as held
         where held.market_id = market.id and (held.shares_yes > 0 or held.shares_no > 0)) as holders
  from markets as market
 where market.state = 'RESOLVING'
   and exists (select from dispute_requests as asked where asked.market_id = market.id)
 order by market.resolution_proposed_at, market.id
"""


class CountedMarket(Struct, frozen=True):
    """A market and how its votes stand now. The count that is sent is a tally, taken with the vote closed."""

    id: str
    on_chain_address: str
    counts: VoteCounts


class UndisputedMarket(Struct, frozen=True):
    """A market whose proposed outcome nobody has disputed."""

    id: str
    on_chain_address: str
    resolution_proposed_at: datetime


class PetitionedMarket(Struct, frozen=True):
    """A resolved market whose holders ask for a dispute, and how many holders there are."""

    id: str
    on_chain_address: str
    resolution_proposed_at: datetime
    requests: int
    holders: int


async def passed_proposals(
    connection: Connection, minimum_votes: int, threshold_bps: int, now: datetime
) -> tuple[CountedMarket, ...]:
    """Proposals with enough votes and enough likes among them, except those that wait after a failure."""
    rows = await connection.fetch(_PASSED_PROPOSALS, minimum_votes, threshold_bps, now)
    return tuple(
        CountedMarket(row["id"], row["on_chain_address"], VoteCounts(row["yes"], row["no"])) for row in rows
    )


async def ended_disputes(
    connection: Connection, initiated_until: datetime, now: datetime
) -> tuple[CountedMarket, ...]:
    """Disputes opened by then, with or without votes, except those that wait after a failure."""
    rows = await connection.fetch(_ENDED_DISPUTES, initiated_until, now)
    return tuple(
        CountedMarket(row["id"], row["on_chain_address"], VoteCounts(row["yes"], row["no"])) for row in rows
    )


async def undisputed(
    connection: Connection, proposed_until: datetime, now: datetime, limit: int
) -> tuple[UndisputedMarket, ...]:
    """Markets resolved by then and not disputed, except those that wait after a failure."""
    rows = await connection.fetch(_UNDISPUTED, proposed_until, now, limit)
    return tuple(UndisputedMarket(**dict(row)) for row in rows)


async def petitions(connection: Connection) -> tuple[PetitionedMarket, ...]:
    """Resolved markets for which at least one holder asks for a dispute."""
    return tuple(PetitionedMarket(**dict(row)) for row in await connection.fetch(_PETITIONS))

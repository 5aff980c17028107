"""What is known of the voters whose votes are being counted, kept so that the next run goes on.

It belongs to the tally that keeps the votes closed, and is deleted with it. All of these take a service
transaction or reader.
"""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Connection
from msgspec import Struct

from zmartd.market.lifecycle import VoteKind
from zmartd.store.postgres.reader import Reads
from zmartd.store.voters import HolderWhoVoted

_FIND = "select asked_to, is_complete from voter_checks where market_id = $1 and kind = 'proposal'"
# `known` is another run's where that has gone on meanwhile.
_ASKED = """
with tally as (
    select market_id, kind from vote_tallies
     where market_id = $1 and kind = 'proposal' and counted_at is null for key share
), gone_on as (
    insert into voter_checks as known (market_id, kind, asked_to, is_complete, requests)
    select market_id, kind, $3, $4, $5 from tally
     where $2::text is null or exists (select from voter_checks where market_id = $1 and kind = 'proposal')
    on conflict (market_id, kind) do update
       set asked_to = excluded.asked_to, is_complete = excluded.is_complete,
           requests = known.requests + excluded.requests
     where known.asked_to is not distinct from $2 and not known.is_complete
    returning market_id
)
insert into voter_balances (market_id, user_wallet, holds)
select market_id, found.wallet, found.holds
  from gone_on, unnest($6::text[], $7::bool[]) as found (wallet, holds)
"""
_UNREAD = """
select user_wallet from voter_balances where market_id = $1 and holds is null order by place limit $2
"""
_READ = """
with holders as (
    update voter_balances set holds = true
     where market_id = $1 and user_wallet = any($2::text[]) and holds is null
), others as (
    delete from voter_balances where market_id = $1 and user_wallet = any($3::text[]) and holds is null
)
update voter_checks set requests = requests + $4 where market_id = $1 and kind = 'proposal'
"""
_VERIFIED = """
with tally as (
    select market_id from vote_tallies
     where market_id = $1 and kind = 'dispute' and counted_at is null for key share
)
insert into verified_voters as known
       (market_id, user_wallet, on_chain, vote, shares_yes, shares_no, total_invested, trades_count)
select market_id, found.*
  from tally, unnest($2::text[], $3::bool[], $4::bool[], $5::numeric[], $6::numeric[], $7::numeric[],
                     $8::bigint[]) as found
on conflict (market_id, user_wallet) do update
   set on_chain = excluded.on_chain, vote = excluded.vote, shares_yes = excluded.shares_yes,
       shares_no = excluded.shares_no, total_invested = excluded.total_invested,
       trades_count = excluded.trades_count
"""
_SPENT = """
insert into voter_checks as known (market_id, kind, requests)
select market_id, kind, $3 from vote_tallies where market_id = $1 and kind = $2 for key share
on conflict (market_id, kind) do update set requests = known.requests + excluded.requests
"""


class Survey(Struct, frozen=True):
    """How far the node was asked for the balances of a proposal's voters: up to the wallet `asked_to`."""

    asked_to: str | None
    is_complete: bool


NOT_BEGUN = Survey(asked_to=None, is_complete=False)


async def survey(connection: Reads, market_id: str) -> Survey:
    """How far the survey of a proposal's voters has come."""
    row = await connection.fetchrow(_FIND, market_id)
    return NOT_BEGUN if row is None else Survey(**dict(row))


async def record_asked(
    connection: Connection,
    market_id: str,
    since: Survey,
    now: Survey,
    *,
    holders: Sequence[str],
    are_final: bool,
    requests: int,
) -> None:
    """Record that between `since` and `now` the wallets `holders` had the least balance, and no others.

    `are_final`: they had it at one slot, so that they are not read again. Records nothing where another run
    has gone on from `since`, or the votes are not being counted any more.
    """
    finals = [True if are_final else None] * len(holders)
    await connection.execute(
        _ASKED, market_id, since.asked_to, now.asked_to, now.is_complete, requests, list(holders), finals
    )


async def unread(connection: Reads, market_id: str, limit: int) -> list[str]:
    """Wallets whose balances are to be read for the last time, in an order that nobody knows before."""
    return [row["user_wallet"] for row in await connection.fetch(_UNREAD, market_id, limit)]


async def record_read(
    connection: Connection, market_id: str, *, holders: Sequence[str], others: Sequence[str], requests: int
) -> None:
    """Record which wallets had the least balance when they were read for the last time, and which not."""
    await connection.execute(_READ, market_id, list(holders), list(others), requests)


async def record_verified(connection: Connection, market_id: str, holders: Sequence[HolderWhoVoted]) -> None:
    """Record that the chain has the same of these voters on a dispute."""
    await connection.execute(
        _VERIFIED,
        market_id,
        [one.wallet for one in holders],
        [one.on_chain for one in holders],
        [one.vote for one in holders],
        [one.shares_yes for one in holders],
        [one.shares_no for one in holders],
        [one.total_invested for one in holders],
        [one.trades_count for one in holders],
    )


async def record_spent(connection: Connection, kind: VoteKind, market_id: str, requests: int) -> None:
    """Record that a count took more requests, so that others are gone on with first."""
    await connection.execute(_SPENT, market_id, kind, requests)

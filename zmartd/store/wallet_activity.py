"""A wallet's counts of trades, votes, comments and markets, and the list of its votes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from zmartd.market.ids import is_market_id
from zmartd.market.lifecycle import VoteKind
from zmartd.store.keyset import CountedPage, counted_page_of, from_micros, to_micros, with_total
from zmartd.store.postgres.reader import Reads
from zmartd.store.votes import Vote

_COUNTS = """
select (select coalesce(sum(trades_count), 0) from user_positions where user_wallet = $1) as trades,
       (select count(*) from proposal_votes where user_wallet = $1) as proposal_votes,
       (select count(*) from dispute_votes where user_wallet = $1) as dispute_votes,
       (select count(*) from discussions where user_wallet = $1 and deleted_at is null) as comments,
       (select count(*) from markets where creator_wallet = $1 and not orphaned) as markets_created
"""
_PUBLIC_COUNTS = """
select (select coalesce(sum(trades_count), 0) from user_positions where user_wallet = $1) as trades,
       (select count(*) from proposal_votes as vote join markets as market on market.id = vote.market_id
         where user_wallet = $1 and market.state <> 'PROPOSED') as proposal_votes,
       (select count(*) from dispute_votes as vote join markets as market on market.id = vote.market_id
         where user_wallet = $1 and market.state <> 'DISPUTED') as dispute_votes,
       (select count(*) from discussions where user_wallet = $1 and deleted_at is null) as comments,
       (select count(*) from markets where creator_wallet = $1 and not orphaned) as markets_created
"""
_VOLUME = "select coalesce(sum(volume), 0) from lots where user_wallet = $1"
_WON = """
select count(*) from user_positions as held join markets as market on market.id = held.market_id
 where held.user_wallet = $1 and market.state = 'FINALIZED'
   and case when market.final_outcome then held.shares_yes else held.shares_no end > 0
   and market.final_outcome is not null
"""
# A wallet has at most one vote of each kind in a market, and all are sorted anyway.
_VOTES = """
with cast_votes as (
    select 'proposal' as kind, market_id, vote, voted_at, source, tx_signature
      from proposal_votes where user_wallet = $1 and 'proposal' = any($2::text[])
    union all
    select 'dispute', market_id, vote, voted_at, source, tx_signature
      from dispute_votes where user_wallet = $1 and 'dispute' = any($2::text[])
)
"""
_NEWEST_FIRST = "order by voted_at desc, market_id desc, kind desc"
_PAGE = f"""
select market_id, kind, vote, voted_at, source, tx_signature from cast_votes
 where $3::timestamptz is null or (voted_at, market_id, kind) < ($3, $4, $5)
 {_NEWEST_FIRST} limit $6
"""  # noqa: S608 - constants
_COUNTED_VOTES = _VOTES + with_total("(select count(*) from cast_votes)", _PAGE, _NEWEST_FIRST)


class ActivityCounts(Struct, frozen=True):
    """How often a wallet did what; deleted comments are not counted."""

    trades: int
    proposal_votes: int
    dispute_votes: int
    comments: int
    markets_created: int


class WalletRecord(Struct, frozen=True):
    """A wallet's counts, and figures that only the wallet itself may read."""

    counts: ActivityCounts
    volume_lamports: int
    """Purchases with fees and sales before fees."""
    markets_won: int


class OwnVote(Struct, frozen=True):
    """One vote of a wallet."""

    market_id: str
    kind: VoteKind
    vote: Vote


class VotePageKey(Struct, frozen=True, tag="votes/1"):
    """A page begins after this vote. Raises ValueError for an invalid time or market id."""

    micros: int
    """When the vote was cast, in microseconds since 1970."""
    market_id: str
    kind: VoteKind

    def __post_init__(self) -> None:
        from_micros(self.micros)
        if not is_market_id(self.market_id):
            raise ValueError("market_id has to be 64 hexadecimal digits")


async def counts(connection: Reads, wallet: str) -> ActivityCounts:
    """The counts for the wallet itself. Takes a transaction or reader of that wallet."""
    row = await connection.fetchrow(_COUNTS, wallet)
    assert row is not None, "a select of counts always has a row"
    return ActivityCounts(**dict(row))


async def public_counts(connection: Reads, wallet: str) -> ActivityCounts:
    """The counts that anybody may read: votes only where voting has ended. Takes a service reader.

    A count that grew with each vote would reveal it, because the market's count of likes grows with it.
    """
    row = await connection.fetchrow(_PUBLIC_COUNTS, wallet)
    assert row is not None, "a select of counts always has a row"
    return ActivityCounts(**dict(row))


async def volume_lamports(connection: Reads, wallet: str) -> int:
    """All purchases with fees and all sales before fees. Takes a transaction or reader of that wallet."""
    return int(await connection.fetchval(_VOLUME, wallet))


async def record(connection: Reads, wallet: str) -> WalletRecord:
    """All of a wallet's figures. Takes a transaction or reader of that wallet."""
    return WalletRecord(
        await counts(connection, wallet),
        await volume_lamports(connection, wallet),
        int(await connection.fetchval(_WON, wallet)),
    )


async def votes(
    connection: Reads, wallet: str, kinds: Sequence[VoteKind], limit: int, after: VotePageKey | None = None
) -> CountedPage[OwnVote, VotePageKey]:
    """A page of a wallet's votes of these kinds, the newest first. Takes a transaction or reader of it."""
    key = (None, None, None) if after is None else (from_micros(after.micros), after.market_id, after.kind)
    rows = await connection.fetch(_COUNTED_VOTES, wallet, list(kinds), *key, limit + 1)
    return counted_page_of(rows, limit, _own_vote, _key_of)


def _own_vote(row: dict[str, Any]) -> OwnVote:
    vote = Vote(row["vote"], row["voted_at"], row["source"], row["tx_signature"])
    return OwnVote(row["market_id"], VoteKind(row["kind"]), vote)


def _key_of(own: OwnVote) -> VotePageKey:
    return VotePageKey(to_micros(own.vote.voted_at), own.market_id, own.kind)

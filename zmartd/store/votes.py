"""Votes on proposals and disputes: one per wallet, taken only while the market is in the state for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import asyncpg
from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.errors import AboutMarket, DetailedError
from zmartd.market.json_fields import MarketKey
from zmartd.market.lifecycle import VoteKind
from zmartd.market.votes import VoteCounts, VotesSoFar
from zmartd.store import electorates
from zmartd.store.markets import MarketNotFound, MarketReference
from zmartd.store.postgres.reader import Reads
from zmartd.store.streams import StreamPosition

_CAST = {
    VoteKind.PROPOSAL: """
        insert into proposal_votes (market_id, user_wallet, vote) values ($1, $2, $3)
        returning vote, voted_at, source, tx_signature
    """,
    VoteKind.DISPUTE: """
        insert into dispute_votes (market_id, user_wallet, vote) values ($1, $2, $3)
        returning vote, voted_at, source, tx_signature
    """,
}
_FIND = {
    VoteKind.PROPOSAL: """
        select vote, voted_at, source, tx_signature from proposal_votes
         where market_id = $1 and user_wallet = $2
    """,
    VoteKind.DISPUTE: """
        select vote, voted_at, source, tx_signature from dispute_votes
         where market_id = $1 and user_wallet = $2
    """,
}
_LIVE = """
with asked as (select unnest($1::text[]) as market_id),
proposal as (
    select market_id, count(*) filter (where vote) as yes, count(*) filter (where not vote) as no
      from proposal_votes where market_id = any($1::text[]) group by market_id
), dispute as (
    select vote.market_id, count(*) filter (where held.stake is not null and vote.vote) as yes,
           count(*) filter (where held.stake is not null and not vote.vote) as no,
           count(*) filter (where held.stake is null) as not_counted
      from dispute_votes as vote left join dispute_electorate as held using (market_id, user_wallet)
     where vote.market_id = any($1::text[]) group by vote.market_id
)
select asked.market_id, zmartd.stream_epoch() as epoch, coalesce(stream.seq, 0) as seq,
       coalesce(proposal.yes, 0) as likes, coalesce(proposal.no, 0) as dislikes,
       coalesce(dispute.yes, 0) as agree, coalesce(dispute.no, 0) as disagree,
       coalesce(dispute.not_counted, 0) as not_counted
  from asked
  left join streams as stream on stream.name = 'market:' || asked.market_id
  left join proposal on proposal.market_id = asked.market_id
  left join dispute on dispute.market_id = asked.market_id
"""
_SO_FAR = """
select count(*) filter (where vote) as yes, count(*) filter (where not vote) as no,
       count(*) filter (where vote and by_balance) as yes_by_balance,
       count(*) filter (where not vote and by_balance) as no_by_balance,
       exists (select from vote_tallies as tally where tally.market_id = market.id and tally.kind = {kind})
           as are_closed,
       not ({kind} = 'dispute' and {not_known}) as are_known,
       {kind} <> 'dispute' or {not_known}
           or exists (select from dispute_electorate as voter where voter.market_id = market.id) as has_voters
  from (
    select vote.vote, not exists (select from user_positions as held
                                   where held.user_wallet = vote.user_wallet and held.trades_count > 0)
                      as by_balance
      from proposal_votes as vote where {kind} = 'proposal' and vote.market_id = market.id
    union all
    select vote.vote, false as by_balance
      from dispute_votes as vote join dispute_electorate using (market_id, user_wallet)
     where {kind} = 'dispute' and vote.market_id = market.id
  ) as votes
"""
_SO_FAR_OF = f"""
select market.id as market_id, so_far.*
  from markets as market
 cross join lateral ({_SO_FAR.format(kind="$2::text", not_known=electorates.NOT_KNOWN)}) as so_far
 where market.id = any($1::text[])
"""  # noqa: S608 - constants
_OPEN_KIND = (
    "case market.state "
    + " ".join(f"when '{kind.open_state.name}' then '{kind}'" for kind in VoteKind)
    + " end"
)
OPEN_SO_FAR: Final = _SO_FAR.format(kind=f"({_OPEN_KIND})", not_known=electorates.NOT_KNOWN)
"""SQL: the columns that `votes_so_far` needs of the votes that are open on `market`, in one row."""
_HAS_TRADED = "select exists (select from user_positions where user_wallet = $1 and trades_count > 0)"
_IN_ELECTORATE = "select exists (select from dispute_electorate where market_id = $1 and user_wallet = $2)"
_WRONG_STATE, _BEING_COUNTED = "ZM001", "ZM002"
"""What the trigger on both tables raises; see sql/0004_votes.sql."""
RESOLUTION_REPLACED = "ZM003"
"""What inserting an opinion raises if the resolution that it is about was replaced meanwhile; see
sql/0040_opinions_name_their_resolution.sql."""


class VoteDetails(Struct, frozen=True):
    """The vote that was cast before."""

    market_id: MarketKey
    vote_type: VoteKind
    """Whether it is on the proposal or on the dispute."""


class AlreadyVoted(DetailedError[VoteDetails]):
    """This wallet has voted on this market, and a vote cannot be changed; wait for the count."""

    code = "already_voted"


class VotingClosed(DetailedError[AboutMarket]):
    """The market does not take such votes now; its state says which it takes."""

    code = "voting_closed"


class VotesBeingCounted(VotingClosed):
    """The votes of this market are being counted; wait for the result."""

    code = "votes_being_counted"


class VotedOutcomeReplaced(VotingClosed):
    """The disputed outcome was replaced by another while this vote was cast, so it is not taken. Read the
    market again before you vote.
    """

    code = "voted_outcome_replaced"


class NotAHolder(DetailedError[AboutMarket]):
    """Only wallets that held shares of this market when its outcome was proposed vote on its dispute; sign in
    with one that did.
    """

    code = "not_a_holder"


class LiveCounts(Struct, frozen=True):
    """The votes on a market so far, from the API and from the chain.

    `not_counted` are votes on a dispute, cast on the chain, of wallets that held no shares of the market.
    """

    proposal: VoteCounts
    dispute: VoteCounts
    not_counted: int

    def of(self, kind: VoteKind) -> VoteCounts:
        """Those of one kind that count."""
        return self.proposal if kind is VoteKind.PROPOSAL else self.dispute


class Vote(Struct, frozen=True):
    """A wallet's vote. `vote` is True for a like of a proposal, or for agreement with a dispute."""

    vote: bool
    voted_at: datetime
    source: Literal["api", "chain"]
    tx_signature: str | None
    """The transaction that cast the vote, if it was cast on the chain."""


async def cast(connection: Connection, kind: VoteKind, market_id: str, wallet: str, vote: bool) -> Vote:
    """Cast a vote. Takes a transaction of the wallet.

    Raises AlreadyVoted, VotingClosed, NotAHolder or MarketNotFound, which abort the transaction.
    """
    try:
        row = await connection.fetchrow(_CAST[kind], market_id, wallet, vote)
    except asyncpg.UniqueViolationError as error:
        raise AlreadyVoted(VoteDetails(market_id, kind)) from error
    except asyncpg.InsufficientPrivilegeError as error:
        if kind is VoteKind.PROPOSAL:
            raise
        raise NotAHolder(AboutMarket(market_id)) from error
    except asyncpg.PostgresError as error:
        if error.sqlstate == _BEING_COUNTED:
            raise VotesBeingCounted(AboutMarket(market_id)) from error
        if error.sqlstate == RESOLUTION_REPLACED:
            raise VotedOutcomeReplaced(AboutMarket(market_id)) from error
        if error.sqlstate != _WRONG_STATE:
            raise
        if not error.detail:
            raise MarketNotFound(MarketReference(given=market_id)) from error
        raise VotingClosed(
            AboutMarket(market_id),
            f"Only {kind.open_state.name} markets take {kind} votes, and this one is {error.detail}.",
        ) from error
    assert row is not None, "an insert that returns"
    return Vote(**dict(row))


async def find(connection: Reads, kind: VoteKind, market_id: str, wallet: str) -> Vote | None:
    """A wallet's own vote. Takes a transaction or reader of that wallet."""
    row = await connection.fetchrow(_FIND[kind], market_id, wallet)
    return None if row is None else Vote(**dict(row))


async def live(connection: Reads, market_ids: Sequence[str]) -> dict[str, tuple[StreamPosition, LiveCounts]]:
    """The votes on these markets so far, and how far their streams had come in the same read, by market.

    Every change of the votes moves the stream. Takes a service reader: single votes are private.
    """
    return {
        row["market_id"]: (
            StreamPosition(row["epoch"], row["seq"]),
            LiveCounts(
                VoteCounts(row["likes"], row["dislikes"]),
                VoteCounts(row["agree"], row["disagree"]),
                row["not_counted"],
            ),
        )
        for row in await connection.fetch(_LIVE, list(market_ids))
    }


async def so_far(connection: Reads, kind: VoteKind, market_ids: Sequence[str]) -> dict[str, VotesSoFar]:
    """The votes of a kind so far that count or may count, by market. Takes a service reader."""
    rows = await connection.fetch(_SO_FAR_OF, list(market_ids), kind)
    return {row["market_id"]: votes_so_far(row) for row in rows}


def votes_so_far(row: Mapping[str, Any] | Record) -> VotesSoFar:
    """The votes in a row with the columns of OPEN_SO_FAR, which may have more."""
    return VotesSoFar(
        counts=VoteCounts(row["yes"], row["no"]),
        by_balance=VoteCounts(row["yes_by_balance"], row["no_by_balance"]),
        are_closed=row["are_closed"],
        are_known=row["are_known"],
        has_voters=row["has_voters"],
    )


async def has_traded(connection: Reads, wallet: str) -> bool:
    """Whether a wallet has ever bought or sold shares. Takes a transaction or reader of that wallet."""
    return bool(await connection.fetchval(_HAS_TRADED, wallet))


async def is_holder(connection: Reads, market_id: str, wallet: str) -> bool:
    """Whether a wallet may vote on a market's dispute. Takes a transaction or reader of that wallet."""
    return bool(await connection.fetchval(_IN_ELECTORATE, market_id, wallet))

"""Votes on proposals and disputes: one for each wallet, taken only while the market asks for them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import asyncpg
from asyncpg import Connection
from msgspec import Struct

from zmartd.errors import ZmartdError
from zmartd.market.lifecycle import VoteKind
from zmartd.store.markets import MarketNotFound

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
_COUNTS = """
select 'proposal' as kind, count(*) filter (where vote) as yes, count(*) filter (where not vote) as no
  from proposal_votes where market_id = $1
union all
select 'dispute', count(*) filter (where vote), count(*) filter (where not vote)
  from dispute_votes where market_id = $1
"""
_WRONG_STATE, _BEING_COUNTED = "ZM001", "ZM002"
"""What the trigger on both tables raises; see sql/0004_votes.sql."""


class AlreadyVoted(ZmartdError):
    """This wallet has voted on this market; a vote cannot be changed."""

    code = "already_voted"


class VotingClosed(ZmartdError):
    """The market does not take such votes now."""

    code = "voting_closed"


class Vote(Struct, frozen=True):
    """A wallet's vote. True likes a proposal, or agrees with a dispute."""

    vote: bool
    voted_at: datetime
    source: Literal["api", "chain"]
    tx_signature: str | None
    """Where the vote is on the chain, for those that are."""


class VoteCounts(Struct, frozen=True):
    """All votes of one kind on a market, from the API and from the chain."""

    yes: int
    no: int

    @property
    def total(self) -> int:
        return self.yes + self.no


async def cast(connection: Connection, kind: VoteKind, market_id: str, wallet: str, vote: bool) -> Vote:
    """Vote. Takes a transaction of the wallet's, which fails as a whole when the vote does.

    Raises AlreadyVoted, VotingClosed or MarketNotFound.
    """
    try:
        row = await connection.fetchrow(_CAST[kind], market_id, wallet, vote)
    except asyncpg.UniqueViolationError as error:
        raise AlreadyVoted(market_id=market_id, kind=kind) from error
    except asyncpg.PostgresError as error:
        if error.sqlstate == _BEING_COUNTED:
            raise VotingClosed(
                f"the {kind} votes of this market are being counted", market_id=market_id
            ) from error
        if error.sqlstate != _WRONG_STATE:
            raise
        if not error.detail:
            raise MarketNotFound(market=market_id) from error
        raise VotingClosed(
            f"{kind} votes are taken of {kind.open_state.name} markets, and this one is {error.detail}",
            market_id=market_id,
            state=error.detail,
        ) from error
    assert row is not None, "an insert that returns"
    return Vote(**dict(row))


async def find(connection: Connection, kind: VoteKind, market_id: str, wallet: str) -> Vote | None:
    """A wallet's own vote. Takes a transaction of that wallet's."""
    row = await connection.fetchrow(_FIND[kind], market_id, wallet)
    return None if row is None else Vote(**dict(row))


async def counts(connection: Connection, market_id: str) -> dict[VoteKind, VoteCounts]:
    """How a market's votes stand. Takes a service transaction: who voted how is nobody else's business."""
    rows = await connection.fetch(_COUNTS, market_id)
    return {VoteKind(row["kind"]): VoteCounts(row["yes"], row["no"]) for row in rows}

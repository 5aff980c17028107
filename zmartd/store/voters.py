"""Who voted on a market, and what a count has to know of them. All of these take a service reader."""

from __future__ import annotations

from msgspec import Struct

from zmartd.store.postgres.reader import Reads

_VOTERS = """
select vote.user_wallet as wallet,
       exists (select from user_positions as held
                where held.user_wallet = vote.user_wallet and held.trades_count > 0) as has_traded
  from proposal_votes as vote where vote.market_id = $1 order by vote.user_wallet
"""
_HOLDERS_WHO_VOTED = """
select vote.user_wallet as wallet, vote.source = 'chain' as on_chain, vote.vote,
       coalesce(position.shares_yes, 0) as shares_yes, coalesce(position.shares_no, 0) as shares_no,
       coalesce(position.total_invested, 0) as total_invested,
       coalesce(position.trades_count, 0) as trades_count
  from dispute_votes as vote
  join dispute_electorate as held using (market_id, user_wallet)
  left join user_positions as position using (market_id, user_wallet)
 where vote.market_id = $1 order by vote.user_wallet
"""


class Voter(Struct, frozen=True):
    """A wallet that voted on a proposal, and whether it has ever traded."""

    wallet: str
    has_traded: bool


class HolderWhoVoted(Struct, frozen=True):
    """A holder's vote on a dispute, and its position, as the index has them."""

    wallet: str
    on_chain: bool
    """Whether the vote was cast on the chain, not through the API."""
    vote: bool
    shares_yes: int
    shares_no: int
    total_invested: int
    trades_count: int


async def on_proposal(connection: Reads, market_id: str) -> list[Voter]:
    """All wallets that voted on a proposal."""
    return [Voter(**dict(row)) for row in await connection.fetch(_VOTERS, market_id)]


async def on_dispute(connection: Reads, market_id: str) -> list[HolderWhoVoted]:
    """The votes on a dispute that count: those of its electorate."""
    rows = await connection.fetch(_HOLDERS_WHO_VOTED, market_id)
    return [HolderWhoVoted(**dict(row)) for row in rows]

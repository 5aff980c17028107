"""Who voted on a market, in pages, and what a count has to know of them. All take a service reader."""

from __future__ import annotations

from msgspec import Struct

from zmartd.store.postgres.reader import Reads

_VOTERS = """
select vote.user_wallet as wallet, vote.vote,
       exists (select from user_positions as held
                where held.user_wallet = vote.user_wallet and held.trades_count > 0) as has_traded
  from proposal_votes as vote
 where vote.market_id = $1 and vote.user_wallet > $2
 order by vote.user_wallet limit $3
"""
HOLDERS_WHO_VOTED = """
select vote.market_id, vote.user_wallet, vote.source = 'chain' as on_chain, vote.vote,
       coalesce(position.shares_yes, 0) as shares_yes, coalesce(position.shares_no, 0) as shares_no,
       coalesce(position.total_invested, 0) as total_invested,
       coalesce(position.trades_count, 0) as trades_count
  from dispute_votes as vote
  join dispute_electorate as held using (market_id, user_wallet)
  left join user_positions as position using (market_id, user_wallet)
"""
"""SQL: the votes on disputes that count, and the positions behind them."""
NOT_VERIFIED = """
not exists (select from verified_voters as verified
             where verified.market_id = voter.market_id and verified.user_wallet = voter.user_wallet
               and (verified.on_chain, verified.vote, verified.shares_yes, verified.shares_no,
                    verified.total_invested, verified.trades_count)
                 = (voter.on_chain, voter.vote, voter.shares_yes, voter.shares_no,
                    voter.total_invested, voter.trades_count))
"""
"""SQL: whether the chain was not found to have the same as the index about `voter`."""
_NOT_VERIFIED = f"""
select user_wallet as wallet, on_chain, vote, shares_yes, shares_no, total_invested, trades_count
  from ({HOLDERS_WHO_VOTED}) as voter
 where market_id = $1 and user_wallet > $2 and {NOT_VERIFIED}
 order by user_wallet limit $3
"""  # noqa: S608 - constants


class Voter(Struct, frozen=True):
    """A wallet that voted on a proposal, and whether it has ever traded."""

    wallet: str
    vote: bool
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


async def on_proposal(connection: Reads, market_id: str, after: str, limit: int) -> list[Voter]:
    """The wallets that voted on a proposal, by their addresses: at most `limit` of those above `after`."""
    return [Voter(**dict(row)) for row in await connection.fetch(_VOTERS, market_id, after, limit)]


async def not_verified(connection: Reads, market_id: str, after: str, limit: int) -> list[HolderWhoVoted]:
    """The votes on a dispute that count, of the electorate, and are not verified as the index has them now.

    In pages as `on_proposal`.
    """
    rows = await connection.fetch(_NOT_VERIFIED, market_id, after, limit)
    return [
        HolderWhoVoted(
            wallet=row["wallet"],
            on_chain=row["on_chain"],
            vote=row["vote"],
            shares_yes=int(row["shares_yes"]),
            shares_no=int(row["shares_no"]),
            total_invested=int(row["total_invested"]),
            trades_count=row["trades_count"],
        )
        for row in rows
    ]

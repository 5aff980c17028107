"""Votes cast on the chain, and who may vote on a dispute.

A wallet's first vote counts, be it cast on the chain or through the API. The electorate of a dispute are the
wallets that held a position when the market's outcome was proposed.
"""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Connection

from zmartd.chain.events import (
    DisputeVoteSubmitted,
    MarketResolved,
    ProposalVoteSubmitted,
    SharesBought,
    SharesSold,
    SharesTransferred,
)
from zmartd.indexer.effects.batch import Batch
from zmartd.indexer.events.rows import EventRow

_PROPOSAL = """
insert into proposal_votes (market_id, user_wallet, vote, voted_at, source, tx_signature)
select market_id, user_wallet, vote, voted_at, 'chain', tx_signature
  from unnest($1::text[], $2::text[], $3::bool[], $4::timestamptz[], $5::text[])
       as cast_ (market_id, user_wallet, vote, voted_at, tx_signature)
on conflict (market_id, user_wallet) do nothing
"""
_DISPUTE = """
insert into dispute_votes (market_id, user_wallet, vote, voted_at, source, tx_signature)
select market_id, user_wallet, vote, voted_at, 'chain', tx_signature
  from unnest($1::text[], $2::text[], $3::bool[], $4::timestamptz[], $5::text[])
       as cast_ (market_id, user_wallet, vote, voted_at, tx_signature)
on conflict (market_id, user_wallet) do nothing
"""
_REFRESH = """
select zmartd.refresh_electorate(array(
    select market_id from market_events
     where market_id = any($1::text[]) and event_type = 'MarketResolved'
))
"""
_DECIDING = frozenset({MarketResolved, SharesBought, SharesSold, SharesTransferred})


async def apply_votes(connection: Connection, rows: Sequence[EventRow]) -> None:
    """Write on-chain votes to the votes of their markets."""
    for statement, kind in ((_PROPOSAL, ProposalVoteSubmitted), (_DISPUTE, DisputeVoteSubmitted)):
        cast = sorted(
            (row.market_id or "", row.actor or "", row.event.vote, row.occurred_at, row.signature)
            for row in rows
            if type(row.event) is kind
        )
        if cast:
            await connection.execute(statement, *([vote[column] for vote in cast] for column in range(5)))


async def refresh_electorates(connection: Connection, batch: Batch) -> None:
    """Compute the electorates that these events decide, after their effects are applied.

    A market trades until its outcome is proposed, so this computes something once in a market's life, and
    again if an earlier event arrives late.
    """
    decided = {batch.market_of(row) for row in batch.rows if type(row.event) in _DECIDING}
    if decided:
        await connection.execute(_REFRESH, sorted(market_id for market_id in decided if market_id))

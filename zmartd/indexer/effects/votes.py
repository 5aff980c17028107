"""Votes cast on the chain, beside those from the API. A wallet's first vote is the one that counts."""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Connection

from zmartd.chain.events import DisputeVoteSubmitted, ProposalVoteSubmitted
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


async def apply_votes(connection: Connection, rows: Sequence[EventRow]) -> None:
    """Count new on-chain votes among their market's votes."""
    for statement, kind in ((_PROPOSAL, ProposalVoteSubmitted), (_DISPUTE, DisputeVoteSubmitted)):
        cast = sorted(
            (row.market_id or "", row.actor or "", row.event.vote, row.occurred_at, row.signature)
            for row in rows
            if type(row.event) is kind
        )
        if cast:
            await connection.execute(statement, *([vote[column] for vote in cast] for column in range(5)))

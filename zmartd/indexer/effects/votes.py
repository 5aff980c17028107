"""Votes cast on the chain, and who may vote on a dispute.

A wallet's first vote counts, be it cast on the chain or through the API. The program takes one of each
wallet: where two transactions have one, because a fork has taken one of them, the earlier counts. The
electorate of a dispute are the wallets that held a position when the market's outcome was proposed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
from zmartd.indexer.effects.markets import LockedMarket
from zmartd.indexer.events.rows import EventRow

_CAST = """
insert into {table} as known (market_id, user_wallet, vote, voted_at, source, tx_signature)
select market_id, user_wallet, vote, voted_at, 'chain', tx_signature
  from unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::bool[])
       as cast_ (market_id, user_wallet, voted_at, tx_signature, vote)
on conflict (market_id, user_wallet) do update
   set vote = excluded.vote, voted_at = excluded.voted_at, tx_signature = excluded.tx_signature
 where known.source = 'chain'
   and (excluded.voted_at, excluded.tx_signature) < (known.voted_at, known.tx_signature::text)
"""
_PROPOSAL, _DISPUTE = _CAST.format(table="proposal_votes"), _CAST.format(table="dispute_votes")
_REFRESH = """
select zmartd.refresh_electorate(array(
    select market_id from market_events
     where market_id = any($1::text[]) and event_type = 'MarketResolved'
))
"""
_DECIDING_LATE = frozenset({SharesBought, SharesSold, SharesTransferred})
"""Events that decide it, too, if the outcome was proposed before they arrive."""


async def apply_votes(connection: Connection, rows: Sequence[EventRow]) -> None:
    """Write on-chain votes to the votes of their markets."""
    for statement, kind in ((_PROPOSAL, ProposalVoteSubmitted), (_DISPUTE, DisputeVoteSubmitted)):
        cast = sorted(
            (row.market_id or "", row.actor or "", row.occurred_at, row.signature, row.event.vote)
            for row in rows
            if type(row.event) is kind
        )
        if cast:
            first = {vote[:2]: vote for vote in reversed(cast)}
            columns = zip(*sorted(first.values()), strict=True)
            await connection.execute(statement, *map(list, columns))


async def refresh_electorates(
    connection: Connection, batch: Batch, before: Mapping[str, LockedMarket]
) -> None:
    """Compute the electorates that these events decide, after their effects are applied.

    `before` are the batch's markets as they were before that.

    A market trades until its outcome is proposed, so this computes something once in a market's life, and
    again if an earlier event arrives late.
    """
    decided = {
        market_id
        for row in batch.rows
        if (market_id := batch.market_of(row)) is not None
        and (
            type(row.event) is MarketResolved
            or (type(row.event) in _DECIDING_LATE and before[market_id].is_resolved)
        )
    }
    if decided:
        await connection.execute(_REFRESH, sorted(decided))

"""Effects of life-cycle events on market rows: facts are always written, the state only moves forward."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from asyncpg import Connection

from zmartd.chain.content_ids import content_id_text
from zmartd.chain.events import (
    DisputeAggregated,
    DisputeInitiated,
    MarketActivated,
    MarketCancelled,
    MarketCreated,
    MarketFinalized,
    MarketResolved,
    ProposalAggregated,
    ProposalApproved,
)
from zmartd.indexer.effects.batch import Batch
from zmartd.indexer.events.event_context import EventContext
from zmartd.indexer.events.places import in_shared_slots
from zmartd.indexer.events.rows import EventRow
from zmartd.market.lifecycle import MarketState

SEED_SHARES_DIVISOR = 1_000
"""A market starts with b / 1000 shares of each outcome, hence with a price of one half."""

_CREATED = """
update markets
   set creator_wallet = $2, b_parameter = $3::numeric, created_at = $5, chain_confirmed = true,
       shares_yes = shares_yes + $4::numeric, shares_no = shares_no + $4::numeric,
       ipfs_question_hash = coalesce($6, ipfs_question_hash)
 where id = $1
"""
_FUNDED = """
update markets
   set initial_liquidity = $2::numeric, current_liquidity = current_liquidity + $2::numeric
 where id = $1 and initial_liquidity is null
"""
_APPROVED = "update markets set approved_at = $2 where id = $1"
_ACTIVATED = "update markets set activated_at = $2 where id = $1"
_RESOLVED = """
update markets
   set resolver_wallet = $2, proposed_outcome = $3, ipfs_evidence_hash = $4, resolution_proposed_at = $5,
       resolved_in = $6
 where id = $1
"""
_DISPUTED = """
update markets
   set dispute_initiator = $2, dispute_initiated_at = $3
 where id = $1 and (dispute_initiated_at is null or dispute_initiated_at <= $3)
"""
_PROPOSAL_COUNTED = """
update markets
   set proposal_likes = $2, proposal_dislikes = $3, proposal_counted_slot = $4
 where id = $1 and proposal_counted_slot <= $4
"""
_DISPUTE_COUNTED = """
update markets
   set dispute_agree = $2, dispute_disagree = $3, dispute_counted_slot = $4
 where id = $1 and dispute_counted_slot <= $4
"""
_FINALIZED = "update markets set final_outcome = $2, was_disputed = $3, finalized_at = $4 where id = $1"
_FINALIZED_INVALID = "update markets set was_disputed = true, finalized_at = $2 where id = $1"
_CANCELLED = "update markets set cancelled_at = $2 where id = $1"
_MOVE = """
update markets
   set state = moved.state, state_slot = moved.slot, state_rank = moved.rank, state_changed_at = moved.at,
       awaiting_decision = false, settles_at = null, awaiting_admin_approval = false
  from unnest($1::text[], $2::text[], $3::bigint[], $4::int[], $5::timestamptz[])
       as moved (id, state, slot, rank, at)
 where markets.id = moved.id and (markets.state_slot, markets.state_rank) <= (moved.slot, moved.rank)
"""

_Fact = tuple[str, tuple[Any, ...]]
"""A statement and its arguments; the first is the market's id."""

_LIFECYCLE_EVENTS = frozenset(
    {
        MarketCreated,
        ProposalAggregated,
        ProposalApproved,
        MarketActivated,
        MarketResolved,
        DisputeInitiated,
        DisputeAggregated,
        MarketFinalized,
        MarketCancelled,
    }
)
STATE_RANK: dict[type[Any], int] = {
    MarketCreated: 0,
    ProposalApproved: 1,
    MarketActivated: 2,
    MarketResolved: 3,
    DisputeInitiated: 4,
    DisputeAggregated: 5,
    MarketFinalized: 6,
    MarketCancelled: 6,
}
"""The order in which state changes of one slot must have happened, where their places are not known."""
_ENDINGS: Final = (DisputeAggregated, MarketFinalized, MarketCancelled)
_ENDING_SECONDS: Final = 300.0
"""How long a market's end may take: the results of all who hold shares of it are kept with it, 25 µs each."""
_ALLOW_TIME: Final = f"set local statement_timeout = {int(_ENDING_SECONDS * 1_000)}"
_REPEATED = (DisputeInitiated.__name__,)
"""What can happen to a market more than once, in slots of which the chain's time is the same."""

_Event = tuple[str, str | None, int, str]
"""Type, market, slot and signature."""


async def out_of_order(connection: Connection, events: Iterable[_Event]) -> set[str]:
    """The markets of which one of these events cannot be applied to the row as it is: another transaction has
    a life-cycle event in the same slot, and the order decides. Takes a service transaction.
    """
    kinds = {kind.__name__ for kind in _LIFECYCLE_EVENTS}
    of_markets = [
        (kind, market, slot, signature)
        for kind, market, slot, signature in events
        if kind in kinds and market is not None
    ]
    return await in_shared_slots(connection, of_markets, sorted(kinds), _REPEATED)


def in_order(rows: Iterable[EventRow]) -> list[EventRow]:
    """Life-cycle events in the order of the chain, whichever was indexed first.

    Where not all of a market's in a slot have a place in the block, theirs is the order in which they are
    possible.
    """
    events = sorted((row for row in rows if type(row.event) in _LIFECYCLE_EVENTS), key=lambda row: row.key)
    unplaced = {(row.market_id, row.slot) for row in events if row.index_in_block is None}
    first_rank: dict[tuple[str | None, str], int] = {}
    for row in events:
        if (rank := STATE_RANK.get(type(row.event))) is not None:
            first_rank.setdefault((row.market_id, row.signature), rank)

    def order(row: EventRow) -> tuple[int, int, int, str, int]:
        placed = 0 if (row.market_id, row.slot) in unplaced else row.index_in_block or 0
        rank = first_rank.get((row.market_id, row.signature), 0)
        return (row.slot, placed, rank, row.signature, row.ordinal)

    return sorted(events, key=order)


async def apply_lifecycle(connection: Connection, batch: Batch) -> None:
    """Apply life-cycle events to existing market rows."""
    statements: dict[str, list[tuple[Any, ...]]] = {}
    moves: dict[str, tuple[int, int, EventRow]] = {}
    for row in in_order(batch.rows):
        for statement, arguments in _facts(row):
            statements.setdefault(statement, []).append(arguments)
        if (rank := STATE_RANK.get(type(row.event))) is not None and row.market_id is not None:
            moves[row.market_id] = (row.slot, rank, row)
    timeout = None
    if any(isinstance(row.event, _ENDINGS) for row in batch.rows):
        await connection.execute(_ALLOW_TIME)
        timeout = _ENDING_SECONDS
    for statement, arguments_list in statements.items():
        await connection.executemany(statement, arguments_list, timeout=timeout)
    if moves:
        order = sorted(moves)
        await connection.execute(
            _MOVE,
            order,
            [_state_after(moves[market_id][2]).name for market_id in order],
            [moves[market_id][0] for market_id in order],
            [moves[market_id][1] for market_id in order],
            [moves[market_id][2].occurred_at for market_id in order],
            timeout=timeout,
        )


def _facts(row: EventRow) -> list[_Fact]:
    at = row.occurred_at
    match row.event:
        case MarketCreated() as created:
            return _created(created, row.context, at)
        case ProposalAggregated(market_id=raw, likes=likes, dislikes=dislikes):
            return [(_PROPOSAL_COUNTED, (raw.hex(), likes, dislikes, row.slot))]
        case ProposalApproved(market_id=raw):
            return [(_APPROVED, (raw.hex(), at))]
        case MarketActivated(market_id=raw, initial_liquidity=liquidity):
            return [(_ACTIVATED, (raw.hex(), at)), (_FUNDED, (raw.hex(), liquidity))]
        case MarketResolved(market_id=raw, resolver=resolver, outcome=outcome, evidence_hash=evidence):
            return [
                (
                    _RESOLVED,
                    (raw.hex(), str(resolver), outcome, content_id_text(evidence), at, row.signature),
                )
            ]
        case DisputeInitiated(market_id=raw, initiator=initiator):
            return [
                (_DISPUTED, (raw.hex(), str(initiator), at)),
                (_DISPUTE_COUNTED, (raw.hex(), 0, 0, row.slot)),
            ]
        case DisputeAggregated(
            market_id=raw, agrees=agrees, disagrees=disagrees, dispute_succeeded=succeeded
        ):
            finalized = [] if succeeded else [(_FINALIZED_INVALID, (raw.hex(), at))]
            return [(_DISPUTE_COUNTED, (raw.hex(), agrees, disagrees, row.slot)), *finalized]
        case MarketFinalized(market_id=raw, final_outcome=outcome, was_disputed=disputed):
            final: _Fact = (_FINALIZED, (raw.hex(), outcome, disputed, at))
            agree, disagree = row.context.dispute_agree, row.context.dispute_disagree
            if agree is None or disagree is None:
                return [final]
            return [final, (_DISPUTE_COUNTED, (raw.hex(), agree, disagree, row.slot))]
        case MarketCancelled(market_id=raw):
            return [(_CANCELLED, (raw.hex(), at))]
        case _:
            return []


def _created(event: MarketCreated, context: EventContext, at: datetime) -> list[_Fact]:
    market_id, seed = event.market_id.hex(), event.b_parameter // SEED_SHARES_DIVISOR
    created = (market_id, str(event.creator), event.b_parameter, seed, at, context.question_cid)
    liquidity = context.initial_liquidity
    funded = [] if liquidity is None else [(_FUNDED, (market_id, liquidity))]
    return [(_CREATED, created), *funded]


def _state_after(row: EventRow) -> MarketState:
    match row.event:
        case MarketCreated():
            return MarketState.PROPOSED
        case ProposalApproved():
            return MarketState.APPROVED
        case MarketActivated():
            return MarketState.ACTIVE
        case MarketResolved() | DisputeAggregated(dispute_succeeded=True):
            return MarketState.RESOLVING
        case DisputeInitiated():
            return MarketState.DISPUTED
        case DisputeAggregated() | MarketFinalized():
            return MarketState.FINALIZED
        case MarketCancelled():
            return MarketState.CANCELLED
        case other:
            raise AssertionError(f"{type(other).__name__} does not change the state")

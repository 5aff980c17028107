"""Markets built again from their event rows, by the code that applied these one by one.

Effects have no inverse: a late event may have overtaken an earlier one, and a vote may have counted because
another did not. So what the chain says of a market is emptied, and all its events are applied to it at once.
This takes the memory and the time of the largest of the markets, once, in one database transaction.

What the chain does not decide survives: votes through the API, registered texts, discussions, and the ids of
trades. A market's version goes on growing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from asyncpg import Connection, Record

from zmartd.indexer.effects import markets
from zmartd.indexer.effects.apply_effects import apply_effects
from zmartd.indexer.effects.batch import Batch
from zmartd.indexer.effects.market_messages import state_messages
from zmartd.indexer.events.rows import EventRow, stored_row
from zmartd.realtime.messages import Message

_FORGET_VOTES = (
    "delete from proposal_votes where market_id = any($1::text[]) and source = 'chain'",
    "delete from dispute_votes where market_id = any($1::text[]) and source = 'chain'",
)
_FORGET_ELECTORATE = "delete from dispute_electorate where market_id = any($1::text[])"
_FORGET_POSITIONS = "delete from user_positions where market_id = any($1::text[])"
_FORGET_TRADES = """
delete from trades where market_id = any($1::text[])
returning id, tx_signature, event_index, commitment, created_at
"""
_RECOGNIZE_TRADES = """
update trades set id = known.id, commitment = known.commitment, created_at = known.created_at
  from unnest($1::bigint[], $2::text[], $3::int[], $4::text[], $5::timestamptz[])
       as known (id, tx_signature, event_index, commitment, created_at)
 where trades.tx_signature = known.tx_signature and trades.event_index = known.event_index
"""
_FORGET_MARKETS = """
update markets
   set question = default, description = default, category = default, tags = default, end_date = default,
       metadata_verified = default, ipfs_question_hash = default, ipfs_evidence_hash = default,
       creator_wallet = default, resolver_wallet = default, dispute_initiator = default,
       state = default, state_slot = default, state_rank = default, state_changed_at = default,
       b_parameter = default, initial_liquidity = default, current_liquidity = default,
       shares_yes = default, shares_no = default, total_volume = default, trades_count = default,
       accumulated_protocol_fees = default, resolver_fees_earned = default, lp_fees_earned = default,
       resolver_paid = default, claimed_total = default, claims_count = default,
       liquidity_withdrawn = default, proposed_outcome = default, final_outcome = default,
       was_disputed = default, proposal_likes = default, proposal_dislikes = default,
       dispute_agree = default, dispute_disagree = default, proposal_counted_slot = default,
       dispute_counted_slot = default, approved_at = default, activated_at = default,
       resolution_proposed_at = default, dispute_initiated_at = default, finalized_at = default,
       cancelled_at = default, awaiting_decision = default, settles_at = default,
       chain_confirmed = default, commitment = default, slot = default,
       orphaned = true
 where id = any($1::text[])
"""
_EVENTS = "select * from program_events where market_id = any($1::text[])"
_ADDRESSES = "select on_chain_address, id from markets where id = any($1::text[])"


async def rebuild_markets(
    connection: Connection,
    market_ids: set[str],
    at: datetime,
    rates_from: int | None = None,
) -> list[Message]:
    """Build these markets again, and price others again where fees changed; the news is of the time `at`.

    They changed from the slot `rates_from` on, if it is given. Takes a service transaction.
    """
    before = await markets.lock_markets(connection, market_ids)
    ids = sorted(market_ids)
    trades = await _forget(connection, ids)
    batch = Batch(await _remaining(connection, ids), await _addresses(connection, ids), "confirmed")
    emptied = await markets.lock_markets(connection, market_ids)
    repriced = await apply_effects(connection, batch, emptied, rates_from)
    if trades:
        await connection.execute(_RECOGNIZE_TRADES, *([row[column] for row in trades] for column in range(5)))
    slots = dict.fromkeys(repriced | market_ids, 0) | batch.slots
    return state_messages(before, await markets.advance_markets(connection, slots, batch.commitment), at)


async def _forget(connection: Connection, market_ids: Sequence[str]) -> list[Record]:
    """Empty what the chain says of these markets; returns what their trades are known by."""
    for statement in (*_FORGET_VOTES, _FORGET_ELECTORATE, _FORGET_POSITIONS, _FORGET_MARKETS):
        await connection.execute(statement, market_ids)
    return list(await connection.fetch(_FORGET_TRADES, market_ids))


async def _remaining(connection: Connection, market_ids: Sequence[str]) -> list[EventRow]:
    rows = [stored_row(row) for row in await connection.fetch(_EVENTS, market_ids)]
    return sorted(rows, key=lambda row: row.key)


async def _addresses(connection: Connection, market_ids: Sequence[str]) -> dict[str, str]:
    rows = await connection.fetch(_ADDRESSES, market_ids)
    return {row["on_chain_address"]: row["id"] for row in rows}

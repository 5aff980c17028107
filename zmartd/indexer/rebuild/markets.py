"""Rebuilds markets from their event rows, with the code that applied these rows one by one.

Effects have no inverse: a late event may have won over an earlier one, and a vote may have counted because
another did not. So everything that derives from the chain is reset, and all events of the market are applied
again as one batch. That takes memory and time in proportion to the market's events.

A corrected market is set to what its accounts held between its events before and after that, and the single
trades from before are priced without those that are missing among them.

What the chain does not decide stays: votes through the API, registered texts, discussions, and the ids of
trades. A market's version keeps growing. Opinions about a resolution are shelved with it, and come back
with it (`zmartd.exchange_opinions`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from asyncpg import Connection, Record

from zmartd.chain.commitment import Commitment
from zmartd.indexer.effects import markets
from zmartd.indexer.effects.apply_effects import apply_effects
from zmartd.indexer.effects.batch import Batch
from zmartd.indexer.effects.market_messages import rebuild_messages
from zmartd.indexer.effects.wallet_messages import wallet_messages
from zmartd.indexer.events.rows import EventRow, stored_row
from zmartd.indexer.rebuild.corrections import (
    Correction,
    apply_corrections,
    corrected_since,
    elect,
    find_corrections,
)
from zmartd.realtime.messages import AnyMessage

_DELETE_VOTES = (
    "delete from proposal_votes where market_id = any($1::text[]) and source = 'chain'",
    "delete from dispute_votes where market_id = any($1::text[]) and source = 'chain'",
)
_DELETE_ELECTORATE = "delete from dispute_electorate where market_id = any($1::text[])"
_DELETE_POSITIONS = "delete from user_positions where market_id = any($1::text[])"
_DELETE_TRADES = """
delete from trades where market_id = any($1::text[])
returning id, tx_signature, event_index, created_at
"""
_RESTORE_TRADES = """
update trades set id = known.id, created_at = known.created_at
  from unnest($1::bigint[], $2::text[], $3::int[], $4::timestamptz[])
       as known (id, tx_signature, event_index, created_at)
 where trades.tx_signature = known.tx_signature and trades.event_index = known.event_index
"""
_COPY_TRADE_COMMITMENT = """
update trades set commitment = event.commitment from trade_events as event
 where event.market_id = any($1::text[]) and trades.commitment <> event.commitment
   and trades.tx_signature = event.tx_signature and trades.event_index = event.event_index
"""
RESET_MARKETS = """
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
       cancelled_at = default, awaiting_admin_approval = default, awaiting_decision = default,
       settles_at = default, reprice_from = default, reprice_before = default,
       reprice_shares_yes = default, reprice_shares_no = default,
       chain_confirmed = default, commitment = default, slot = default, corrected_slot = default,
       orphaned = true
 where id = any($1::text[])
"""
"""Resets all columns that derive from events, but `resolved_in`: a change of it shelves opinions."""
_FORGET_RESOLUTIONS = """
update markets set resolved_in = null
 where id = any($1::text[]) and resolution_proposed_at is null and resolved_in is not null
"""
_EVENTS = "select * from program_events where market_id = any($1::text[])"
_ADDRESSES = "select on_chain_address, id from markets where id = any($1::text[])"


async def rebuild_markets(
    connection: Connection,
    market_ids: set[str],
    at: datetime,
    rates_from: int | None = None,
    *,
    removed: Sequence[Record],
    recorded: Sequence[EventRow] = (),
    commitment: Commitment = "confirmed",
) -> list[AnyMessage]:
    """Rebuild markets, and reprice the trades of all markets from the slot `rates_from` on, if it is given.

    `removed` and `recorded` are the events that the markets have lost, as they were stored, and got, the
    latter with `commitment`. Returns messages with the time `at` for the markets that this changed, and for
    the wallets of those events. Takes a service transaction.
    """
    if rates_from is not None:
        # Their totals stay what the accounts held: other fees change only their single trades.
        market_ids = market_ids | await corrected_since(connection, rates_from)
    before = await markets.lock_markets(connection, market_ids)
    ids = sorted(market_ids)
    trades = await _reset(connection, ids)
    batch = Batch(await _events_of(connection, ids), await _addresses(connection, ids), "confirmed")
    corrections = await find_corrections(connection, ids)
    early, late = _parted(batch, corrections)
    traded = await apply_effects(
        connection, early, await markets.lock_markets(connection, market_ids), rates_from
    )
    changed, fills = traded.changed, traded.fills
    if corrections:
        await markets.advance_markets(
            connection, dict.fromkeys(changed, 0), traded.curves, traded.sums, batch.commitment
        )
        await apply_corrections(connection, corrections)
        locked = await markets.lock_markets(connection, market_ids | changed)
        traded = await apply_effects(connection, late, locked)
        changed, fills = changed | traded.changed, {**fills, **traded.fills}
        await elect(connection, corrections)
    await connection.execute(_FORGET_RESOLUTIONS, ids)
    if trades:
        await connection.execute(_RESTORE_TRADES, *([row[column] for row in trades] for column in range(4)))
    await connection.execute(_COPY_TRADE_COMMITMENT, ids)
    slots = dict.fromkeys(changed | market_ids, 0) | batch.slots
    for market_id, correction in corrections.items():
        slots[market_id] = max(slots[market_id], correction.slot)
    after = await markets.advance_markets(connection, slots, traded.curves, traded.sums, batch.commitment)
    messages: list[AnyMessage] = [
        *rebuild_messages(
            before, after, at, removed=removed, recorded=recorded, fills=fills, commitment=commitment
        )
    ]
    messages += await wallet_messages(
        connection, recorded, batch.market_of, fills, commitment, removed=removed, at=at
    )
    return messages


def _parted(batch: Batch, corrections: Mapping[str, Correction]) -> tuple[Batch, Batch]:
    """The events up to the corrections of their markets, and those after them."""
    late = {
        row.key
        for row in batch.rows
        if (correction := corrections.get(batch.market_of(row) or "")) and row.slot > correction.slot
    }
    early, rest = (
        Batch([row for row in batch.rows if (row.key in late) is which], batch.addresses, batch.commitment)
        for which in (False, True)
    )
    return early, rest


async def _reset(connection: Connection, market_ids: Sequence[str]) -> list[Record]:
    """Reset what derives from the chain. Returns the ids of the trades, to be restored."""
    for statement in (*_DELETE_VOTES, _DELETE_ELECTORATE, _DELETE_POSITIONS, RESET_MARKETS):
        await connection.execute(statement, market_ids)
    return list(await connection.fetch(_DELETE_TRADES, market_ids))


async def _events_of(connection: Connection, market_ids: Sequence[str]) -> list[EventRow]:
    rows = [stored_row(row) for row in await connection.fetch(_EVENTS, market_ids)]
    return sorted(rows, key=lambda row: row.key)


async def _addresses(connection: Connection, market_ids: Sequence[str]) -> dict[str, str]:
    rows = await connection.fetch(_ADDRESSES, market_ids)
    return {row["on_chain_address"]: row["id"] for row in rows}

"""Corrections: what the accounts say of a market beyond its events.

A repair makes one where a transaction cannot be read, so that no event can be inferred. A corrected market is
its events up to the correction's slot, then the values of its accounts, then its later events. An event that
turns up late may be one that was missing, so it ends the correction; so does replacing the market's events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from asyncpg import Connection
from msgspec import Struct

Value = int | str | bool | None

STATE_RANK = 7
"""A correction is later than all events of its slot."""

_FIND = """
select market_id, slot, differences, corrected_at from market_corrections where market_id = any($1::text[])
"""
_ALL = """
select market_id, made.slot, differences, corrected_at, on_chain_address
  from market_corrections as made join markets on markets.id = market_id
"""
_PUT = """
insert into market_corrections (market_id, slot, differences, corrected_at) values ($1, $2, $3, $4)
on conflict (market_id) do update
   set slot = excluded.slot, differences = excluded.differences, corrected_at = excluded.corrected_at
"""
_DROP = """
with dropped as (
    delete from market_corrections where market_id = any($1::text[]) returning market_id, slot
)
update truncated_transactions as truncated set resolved_at = null
  from dropped join markets on markets.id = dropped.market_id
 where truncated.changes @> array[markets.on_chain_address::text] and truncated.slot <= dropped.slot
   and truncated.reason is not null
"""

_SET = "update markets set {} = $2::{} where id = $1"
_SET_TIME = "update markets set {} = to_timestamp(nullif($2::bigint, 0)) where id = $1"
_COLUMNS = {
    **dict.fromkeys(("b_parameter", "initial_liquidity", "current_liquidity"), "numeric"),
    **dict.fromkeys(("shares_yes", "shares_no", "total_volume", "accumulated_protocol_fees"), "numeric"),
    **dict.fromkeys(("proposal_likes", "proposal_dislikes", "dispute_agree", "dispute_disagree"), "bigint"),
    **dict.fromkeys(("proposed_outcome", "final_outcome", "was_disputed"), "boolean"),
    "trades_count": "integer",
    "dispute_initiator": "text",
}
_TIMES = (
    *("created_at", "approved_at", "activated_at", "resolution_proposed_at", "dispute_initiated_at"),
    *("finalized_at", "cancelled_at"),
)
_STATEMENTS: Mapping[str, str] = {
    **{name: _SET.format(name, kind) for name, kind in _COLUMNS.items()},
    **{name: _SET_TIME.format(name) for name in _TIMES},
    "creator": _SET.format("creator_wallet", "text"),
    "resolver": _SET.format("resolver_wallet", "text"),
    "accumulated_resolver_fees": """
update markets
   set resolver_paid = $2::numeric = 0,
       resolver_fees_earned = case when $2::numeric = 0 then resolver_fees_earned else $2::numeric end
 where id = $1""",
    "accumulated_lp_fees": """
update markets
   set liquidity_withdrawn = case when $2::numeric = 0 then coalesce(liquidity_withdrawn, 0) end,
       lp_fees_earned = case when $2::numeric = 0 then lp_fees_earned else $2::numeric end
 where id = $1""",
    # Comes after the times.
    "content_id": """
update markets
   set ipfs_question_hash = case when resolution_proposed_at is null then $2 else ipfs_question_hash end,
       ipfs_evidence_hash = case when resolution_proposed_at is null then ipfs_evidence_hash else $2 end
 where id = $1""",
}
"""How a fact of the audit is written, by its name. What is not here is no column: counts of rows that the
index lacks, which an audit adds to those that it has, and the price, which follows from the shares."""
_STATE = """
update markets set state = $2::zmartd.market_state, state_slot = $3, state_rank = $4, state_changed_at = $5
 where id = $1
"""
_CONFIRM = "update markets set chain_confirmed = true where id = $1"
_ADOPT = "select zmartd.adopt_metadata($1)"
_HOLD = "insert into user_positions (market_id, user_wallet, slot) values ($1, $2, $3) on conflict do nothing"
_SET_POSITION = "update user_positions set {} = $3::{} where market_id = $1 and user_wallet = $2"
_POSITION_COLUMNS = {
    **dict.fromkeys(("shares_yes", "shares_no", "total_invested", "total_returned"), "numeric"),
    "claimed_amount": "numeric",
    "trades_count": "integer",
    "has_claimed": "boolean",
}
_POSITION_STATEMENTS: Mapping[str, str] = {
    **{name: _SET_POSITION.format(name, kind) for name, kind in _POSITION_COLUMNS.items()},
    "last_trade_at": """
update user_positions set last_trade_at = to_timestamp(nullif($3::bigint, 0))
 where market_id = $1 and user_wallet = $2""",
}


class CorrectedFact(Struct, frozen=True):
    """A fact of the audit, of the market or of a wallet's position in it: in the index and on the chain."""

    wallet: str | None
    field: str
    indexed: Value
    on_chain: Value


class Correction(Struct, frozen=True):
    """The facts of a market as its accounts had them at `slot`."""

    market_id: str
    slot: int
    facts: tuple[CorrectedFact, ...]
    at: datetime


async def find_corrections(connection: Connection, market_ids: Iterable[str]) -> list[Correction]:
    """The corrections of these markets. Takes a service transaction."""
    rows = await connection.fetch(_FIND, sorted(market_ids))
    return [_correction(*row) for row in rows]


async def all_corrections(connection: Connection) -> dict[str, Correction]:
    """All corrections by the address of their market. Takes a service transaction."""
    rows = await connection.fetch(_ALL)
    return {address: _correction(*row) for *row, address in rows}


def _correction(market_id: str, slot: int, facts: str, at: datetime) -> Correction:
    return Correction(market_id, slot, msgspec.json.decode(facts, type=tuple[CorrectedFact, ...]), at)


async def put_correction(connection: Connection, correction: Correction) -> None:
    """Store a correction in place of any other. Takes a service transaction."""
    facts = msgspec.json.encode(correction.facts).decode()
    await connection.execute(_PUT, correction.market_id, correction.slot, facts, correction.at)


async def drop_corrections(connection: Connection, market_ids: Iterable[str]) -> None:
    """Remove the corrections of markets that are about to be rebuilt. Takes a service transaction.

    The truncated transactions that they made up for are open again.
    """
    await connection.execute(_DROP, sorted(market_ids))


async def apply_corrections(connection: Connection, corrections: Sequence[Correction]) -> None:
    """Write the facts of corrections to the rows of their markets. Takes a service transaction."""
    for correction in corrections:
        market_id, facts = correction.market_id, correction.facts
        ours = {fact.field: fact.on_chain for fact in facts if fact.wallet is None}
        await connection.execute(_CONFIRM, market_id)
        for field, statement in _STATEMENTS.items():
            if field in ours:
                await connection.execute(statement, market_id, ours[field])
        if "state" in ours:
            await connection.execute(
                _STATE, market_id, ours["state"], correction.slot, STATE_RANK, correction.at
            )
        await connection.fetchval(_ADOPT, market_id)
        for fact in facts:
            if fact.wallet is not None and fact.field in _POSITION_STATEMENTS:
                await connection.execute(_HOLD, market_id, fact.wallet, correction.slot)
                statement = _POSITION_STATEMENTS[fact.field]
                await connection.execute(statement, market_id, fact.wallet, fact.on_chain)

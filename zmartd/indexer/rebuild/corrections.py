"""Corrections: all that the accounts of a market held at a slot.

A repair makes one where a transaction cannot be read, so that no event can be inferred. The market is then
what its accounts held, and what its later events add. Earlier events only give what no account has, like
single trades: they may come late, or never. Once they say all that the accounts held, the correction ends. It
ends, too, where an event up to its slot is lost or replaced, and where all events of the market are compared
with the chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.indexer.effects.facts import (
    COUNTED_FACTS,
    MARKET_FACTS,
    POSITION_FACTS,
    MarketFacts,
    PositionFacts,
)
from zmartd.log import get_logger
from zmartd.store import metadata

log = get_logger(__name__)

_COLUMNS = "made.market_id, made.slot, made.market, made.positions, made.corrected_at"
_FIND = f"select {_COLUMNS} from market_corrections as made where market_id = any($1::text[])"  # noqa: S608 - constants
_BY_ADDRESS = f"""
select {_COLUMNS}, on_chain_address
  from market_corrections as made join markets on markets.id = market_id
 where $1::text[] is null or on_chain_address = any($1)
"""  # noqa: S608 - constants
_SINCE = "select market_id from market_corrections where slot >= $1"
_PUT = """
insert into market_corrections as made (market_id, slot, market, positions, corrected_at)
values ($1, $2, $3, $4, $5)
on conflict (market_id) do update
   set slot = excluded.slot, market = excluded.market, positions = excluded.positions,
       corrected_at = excluded.corrected_at
 where made.slot <= excluded.slot
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
_ENDED = """
select distinct market_id
  from market_corrections as made
  join unnest($1::text[], $2::bigint[]) as changed (market_id, slot) using (market_id)
 where changed.slot <= made.slot
"""
_END = "delete from market_corrections where market_id = any($1::text[])"
_NOTE = """
update market_corrections as made set unexplained = array(select jsonb_array_elements_text(given.unexplained))
  from unnest($1::text[], $2::jsonb[]) as given (market_id, unexplained)
 where made.market_id = given.market_id
"""

_MARKETS_NOW = f"select id, {MARKET_FACTS} from markets as market where id = any($1::text[])"  # noqa: S608 - constants
_POSITIONS_NOW = f"""
select market_id, user_wallet, {POSITION_FACTS} from user_positions as held where market_id = any($1::text[])
"""  # noqa: S608 - constants
_VOTES_UNTIL = """
select made.market_id, count(*) filter (where event_type = 'ProposalVoteSubmitted') as proposal_votes,
       count(*) filter (where event_type = 'DisputeVoteSubmitted') as dispute_votes
  from market_corrections as made
  left join vote_events as cast_ on cast_.market_id = made.market_id and cast_.slot <= made.slot
 where made.market_id = any($1::text[])
 group by made.market_id
"""

_SET_MARKETS = """
update markets as market
   set chain_confirmed = true, corrected_slot = made.slot, creator_wallet = fact.creator,
       resolver_wallet = fact.resolver, dispute_initiator = fact.dispute_initiator,
       state = fact.state,
       state_slot = case when market.state = fact.state then state_slot else made.slot end,
       state_changed_at = case when market.state = fact.state then state_changed_at
                               else made.corrected_at end,
       b_parameter = fact.b_parameter, initial_liquidity = fact.initial_liquidity,
       current_liquidity = fact.current_liquidity, shares_yes = fact.shares_yes, shares_no = fact.shares_no,
       total_volume = fact.total_volume, trades_count = fact.trades_count,
       accumulated_protocol_fees = fact.accumulated_protocol_fees,
       -- The account has no fees any more once they are paid, and then does not say how much they were.
       resolver_paid = case
           when market.accumulated_resolver_fees = fact.accumulated_resolver_fees then resolver_paid
           else fact.accumulated_resolver_fees = 0 end,
       resolver_fees_earned = case
           when fact.accumulated_resolver_fees = 0 then resolver_fees_earned
           else fact.accumulated_resolver_fees end,
       liquidity_withdrawn = case
           when market.accumulated_lp_fees = fact.accumulated_lp_fees then liquidity_withdrawn
           when fact.accumulated_lp_fees = 0 then coalesce(liquidity_withdrawn, 0) end,
       lp_fees_earned = case
           when fact.accumulated_lp_fees = 0 then lp_fees_earned else fact.accumulated_lp_fees end,
       claimed_total = claimed.lamports, claims_count = claimed.wallets,
       proposed_outcome = fact.proposed_outcome, final_outcome = fact.final_outcome,
       was_disputed = fact.was_disputed, proposal_likes = fact.proposal_likes,
       proposal_dislikes = fact.proposal_dislikes, dispute_agree = fact.dispute_agree,
       dispute_disagree = fact.dispute_disagree,
       ipfs_question_hash = case when fact.resolution_proposed_at = 0 then fact.content_id
                                 else ipfs_question_hash end,
       ipfs_evidence_hash = case when fact.resolution_proposed_at = 0 then ipfs_evidence_hash
                                 else fact.content_id end,
       created_at = coalesce(to_timestamp(nullif(fact.created_at, 0)), market.created_at),
       approved_at = to_timestamp(nullif(fact.approved_at, 0)),
       activated_at = to_timestamp(nullif(fact.activated_at, 0)),
       resolution_proposed_at = to_timestamp(nullif(fact.resolution_proposed_at, 0)),
       -- Where no event tells of the resolution, it is that of the unread transaction of the same time.
       resolved_in = case
           when fact.resolution_proposed_at = 0
                or (market.resolution_proposed_at, market.resolver_wallet, market.proposed_outcome)
                 = (to_timestamp(fact.resolution_proposed_at), fact.resolver, fact.proposed_outcome)
               then resolved_in
           else (select min(tx_signature) from truncated_transactions as unread
                  where unread.changes @> array[on_chain_address::text] and unread.slot <= made.slot
                    and unread.block_time = to_timestamp(fact.resolution_proposed_at)) end,
       dispute_initiated_at = to_timestamp(nullif(fact.dispute_initiated_at, 0)),
       finalized_at = to_timestamp(nullif(fact.finalized_at, 0)),
       cancelled_at = to_timestamp(nullif(fact.cancelled_at, 0))
  from market_corrections as made
 cross join lateral jsonb_to_record(made.market) as fact (
           creator text, state text, b_parameter numeric, initial_liquidity numeric,
           current_liquidity numeric, shares_yes numeric, shares_no numeric, total_volume numeric,
           accumulated_protocol_fees numeric, accumulated_resolver_fees numeric, accumulated_lp_fees numeric,
           proposal_likes bigint, proposal_dislikes bigint, dispute_agree bigint, dispute_disagree bigint,
           proposed_outcome boolean, final_outcome boolean, was_disputed boolean, resolver text,
           dispute_initiator text, content_id text, created_at bigint, approved_at bigint,
           activated_at bigint, resolution_proposed_at bigint, dispute_initiated_at bigint,
           finalized_at bigint, cancelled_at bigint, trades_count integer)
 cross join lateral (
           select coalesce(sum((held.facts ->> 'claimed_amount')::numeric), 0) as lamports,
                  count(*) filter (where (held.facts ->> 'has_claimed')::boolean) as wallets
             from jsonb_each(made.positions) as held (wallet, facts)
       ) as claimed
 where made.market_id = market.id and market.id = any($1::text[])
"""
_REMOVE_POSITIONS = """
delete from user_positions as held using market_corrections as made
 where made.market_id = held.market_id and made.market_id = any($1::text[])
   and not jsonb_exists(made.positions, held.user_wallet)
"""
_SET_POSITIONS = """
insert into user_positions as held (market_id, user_wallet, shares_yes, shares_no, total_invested,
                                    total_returned, trades_count, last_trade_at, has_claimed, claimed_amount,
                                    slot)
select made.market_id, one.wallet, fact.shares_yes, fact.shares_no, fact.total_invested, fact.total_returned,
       fact.trades_count, to_timestamp(nullif(fact.last_trade_at, 0)), fact.has_claimed, fact.claimed_amount,
       made.slot
  from market_corrections as made
 cross join lateral jsonb_each(made.positions) as one (wallet, facts)
 cross join lateral jsonb_to_record(one.facts) as fact (
           shares_yes numeric, shares_no numeric, total_invested numeric, total_returned numeric,
           trades_count integer, last_trade_at bigint, has_claimed boolean, claimed_amount numeric)
 where made.market_id = any($1::text[])
on conflict (market_id, user_wallet) do update
   set shares_yes = excluded.shares_yes, shares_no = excluded.shares_no,
       total_invested = excluded.total_invested, total_returned = excluded.total_returned,
       trades_count = excluded.trades_count, last_trade_at = excluded.last_trade_at,
       has_claimed = excluded.has_claimed, claimed_amount = excluded.claimed_amount,
       slot = excluded.slot, updated_at = now()
"""
_ELECT = "select zmartd.refresh_electorate($1::text[])"

_COMPARED = tuple(name for name in MarketFacts.__struct_fields__ if name not in (*COUNTED_FACTS, "price_yes"))
"""The facts that events have set before the price is, which follows from the shares."""
POSITIONS = "positions"
"""Stands for all facts of all positions among those that events do not explain."""


class Correction(Struct, frozen=True):
    """The facts of a market and, by wallet, of the positions in it, as the accounts had them at `slot`."""

    market_id: str
    slot: int
    market: MarketFacts
    positions: Mapping[str, PositionFacts]
    at: datetime


async def find_corrections(connection: Connection, market_ids: Iterable[str]) -> dict[str, Correction]:
    """The corrections of these markets, by id. Takes a service transaction."""
    found = [_correction(row) for row in await connection.fetch(_FIND, sorted(market_ids))]
    return {one.market_id: one for one in found}


async def corrections_by_address(
    connection: Connection, addresses: Sequence[str] | None = None
) -> dict[str, Correction]:
    """All corrections by the address of their market, or those of some. Takes a service transaction."""
    rows = await connection.fetch(_BY_ADDRESS, addresses)
    return {row["on_chain_address"]: _correction(row) for row in rows}


async def corrected_since(connection: Connection, slot: int) -> set[str]:
    """The ids of markets with a correction of that slot or a later one. Takes a service transaction."""
    return {row["market_id"] for row in await connection.fetch(_SINCE, slot)}


async def put_correction(connection: Connection, correction: Correction) -> None:
    """Store a correction, unless there is one of a later slot. Takes a service transaction."""
    await connection.execute(
        _PUT,
        correction.market_id,
        correction.slot,
        msgspec.json.encode(correction.market).decode(),
        msgspec.json.encode(correction.positions).decode(),
        correction.at,
    )


async def drop_corrections(connection: Connection, market_ids: Iterable[str]) -> None:
    """Remove the corrections of markets that are about to be rebuilt. Takes a service transaction.

    The truncated transactions that they made up for are open again.
    """
    await connection.execute(_DROP, sorted(market_ids))


async def end_corrections(connection: Connection, changed: Iterable[tuple[str | None, int]]) -> set[str]:
    """Remove the corrections whose market has got or lost something that they stand after.

    `changed` are the market ids and slots of that. Returns the ids of markets that have to be rebuilt because
    of it. Takes a service transaction.
    """
    of_markets = [(market_id, slot) for market_id, slot in changed if market_id is not None]
    ended = await connection.fetch(_ENDED, [one[0] for one in of_markets], [one[1] for one in of_markets])
    market_ids = {row["market_id"] for row in ended}
    await drop_corrections(connection, market_ids)
    return market_ids


async def apply_corrections(connection: Connection, corrections: Mapping[str, Correction]) -> None:
    """Set the rows of markets, to which the events up to their corrections were applied, to what these hold.

    Ends the corrections that hold nothing else. Takes a service transaction.
    """
    unexplained = await _unexplained(connection, corrections)
    ended = sorted(market_id for market_id, facts in unexplained.items() if not facts)
    if ended:
        await connection.execute(_END, ended)
        log.info("corrections.ended", market_ids=ended)
    standing = sorted(corrections.keys() - ended)
    if not standing:
        return
    names = [msgspec.json.encode(unexplained[market_id]).decode() for market_id in standing]
    await connection.execute(_NOTE, standing, names)
    for statement in (_SET_MARKETS, _REMOVE_POSITIONS, _SET_POSITIONS):
        await connection.execute(statement, standing)
    await metadata.adopt(connection, standing)


async def elect(connection: Connection, market_ids: Iterable[str]) -> None:
    """Compute the electorates of corrected markets, of whose resolution there may be no event.

    Takes a service transaction.
    """
    await connection.execute(_ELECT, sorted(market_ids))


async def _unexplained(
    connection: Connection, corrections: Mapping[str, Correction]
) -> dict[str, tuple[str, ...]]:
    """The names of the facts, by market, that the rows do not have as the correction does."""
    ids = sorted(corrections)
    rows = {row["id"]: row for row in await connection.fetch(_MARKETS_NOW, ids)}
    votes = {row["market_id"]: row for row in await connection.fetch(_VOTES_UNTIL, ids)}
    held: dict[str, dict[str, PositionFacts]] = {market_id: {} for market_id in ids}
    for row in await connection.fetch(_POSITIONS_NOW, ids):
        facts = {name: row[name] for name in PositionFacts.__struct_fields__}
        held[row["market_id"]][row["user_wallet"]] = PositionFacts(**facts)
    return {
        market_id: (
            *(name for name in _COMPARED if rows[market_id][name] != getattr(one.market, name)),
            *(
                name
                for name in ("proposal_votes", "dispute_votes")
                if votes[market_id][name] != getattr(one.market, name)
            ),
            *((POSITIONS,) if held[market_id] != one.positions else ()),
        )
        for market_id, one in corrections.items()
    }


def _correction(row: Record) -> Correction:
    return Correction(
        row["market_id"],
        row["slot"],
        msgspec.json.decode(row["market"], type=MarketFacts),
        msgspec.json.decode(row["positions"], type=dict[str, PositionFacts]),
        row["corrected_at"],
    )

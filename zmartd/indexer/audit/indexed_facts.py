"""Reads from the database the facts that the audit compares with accounts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.indexer.audit.comparison import ConfigurationFacts, MarketFacts, PositionFacts, ProgramFacts
from zmartd.indexer.rebuild.corrections import Correction, all_corrections

_MARKETS = """
select market.on_chain_address, market.version, creator_wallet as creator, state, b_parameter,
       initial_liquidity, current_liquidity, shares_yes, shares_no,
       (current_price_yes * 1000000000)::bigint as price_yes, total_volume, accumulated_protocol_fees,
       accumulated_resolver_fees, accumulated_lp_fees, proposal_likes, proposal_dislikes, dispute_agree,
       dispute_disagree, coalesce(cast_.proposal, 0) as proposal_votes,
       coalesce(cast_.dispute, 0) as dispute_votes,
       proposed_outcome, final_outcome, was_disputed, resolver_wallet as resolver, dispute_initiator,
       case when resolution_proposed_at is null then ipfs_question_hash else ipfs_evidence_hash
       end as content_id,
       coalesce(extract(epoch from market.created_at)::bigint, 0) as created_at,
       coalesce(extract(epoch from approved_at)::bigint, 0) as approved_at,
       coalesce(extract(epoch from activated_at)::bigint, 0) as activated_at,
       coalesce(extract(epoch from resolution_proposed_at)::bigint, 0) as resolution_proposed_at,
       coalesce(extract(epoch from dispute_initiated_at)::bigint, 0) as dispute_initiated_at,
       coalesce(extract(epoch from finalized_at)::bigint, 0) as finalized_at,
       coalesce(extract(epoch from cancelled_at)::bigint, 0) as cancelled_at,
       trades_count, coalesce(traded.trades, 0) as trades, coalesce(traded.volume, 0) as trades_volume,
       coalesce(traded.protocol_fees, 0) as trades_protocol_fees
  from markets as market
  left join (
      select market_id, count(*) as trades, sum(protocol_fee) as protocol_fees,
             sum(case when trade_type = 'buy' then cost else amount end) as volume
        from trades
       where $1::text is null or market_id = (select id from markets where on_chain_address = $1)
       group by market_id
  ) as traded on traded.market_id = market.id
  left join (
      select market_id, count(*) filter (where event_type = 'ProposalVoteSubmitted') as proposal,
             count(*) filter (where event_type = 'DisputeVoteSubmitted') as dispute
        from vote_events
       where $1::text is null or market_id = (select id from markets where on_chain_address = $1)
       group by market_id
  ) as cast_ on cast_.market_id = market.id
 where not orphaned and ($1::text is null or on_chain_address = $1)
"""
_POSITIONS = """
select on_chain_address, user_wallet, held.shares_yes, held.shares_no, total_invested, total_returned,
       held.trades_count, coalesce(extract(epoch from last_trade_at)::bigint, 0) as last_trade_at,
       has_claimed, claimed_amount
  from user_positions as held join markets on markets.id = held.market_id
 where $1::text is null or on_chain_address = $1
"""
_CONFIGURATION = """
select is_paused, admin, backend_authority, protocol_fee_bps, resolver_reward_bps, liquidity_provider_fee_bps,
       proposal_approval_threshold, dispute_success_threshold, min_resolution_delay, dispute_period
  from protocol
"""


_UNCOUNTED = ("trades", "trades_volume", "trades_protocol_fees", "proposal_votes", "dispute_votes")
"""Facts that are no columns, but counts of rows: a correction says how many more the chain has."""


class IndexedFacts(Struct, frozen=True):
    """The facts, and each market's version by address. A change of a market gives it a new version."""

    facts: ProgramFacts
    versions: Mapping[str, int]


async def read_index(connection: Connection) -> IndexedFacts:
    """The whole index. Takes a service transaction."""
    return await _read(connection, None, await read_indexed_configuration(connection))


async def read_indexed_configuration(connection: Connection) -> ConfigurationFacts:
    """The configuration. Takes a service transaction."""
    (configuration,) = await connection.fetch(_CONFIGURATION)
    return ConfigurationFacts(**dict(configuration))


async def read_indexed_market(connection: Connection, address: str) -> IndexedFacts:
    """One market with its positions, without the configuration. Takes a service transaction."""
    return await _read(connection, address, ConfigurationFacts())


async def _read(
    connection: Connection, address: str | None, configuration: ConfigurationFacts
) -> IndexedFacts:
    markets = await connection.fetch(_MARKETS, address)
    corrections = await all_corrections(connection)
    positions = await connection.fetch(_POSITIONS, address)
    return IndexedFacts(
        ProgramFacts(
            {row["on_chain_address"]: _market(row, corrections) for row in markets},
            {
                (row["on_chain_address"], row["user_wallet"]): PositionFacts(**_fields(row, PositionFacts))
                for row in positions
            },
            configuration,
        ),
        {row["on_chain_address"]: row["version"] for row in markets},
    )


def _market(row: Record, corrections: Mapping[str, Correction]) -> MarketFacts:
    facts = MarketFacts(**_fields(row, MarketFacts))
    correction = corrections.get(row["on_chain_address"])
    if correction is None:
        return facts
    more = {
        fact.field: getattr(facts, fact.field) + int(fact.on_chain or 0) - int(fact.indexed or 0)
        for fact in correction.facts
        if fact.wallet is None and fact.field in _UNCOUNTED
    }
    return msgspec.structs.replace(facts, **more)


def _fields(row: Record, kind: type[MarketFacts] | type[PositionFacts]) -> dict[str, Any]:
    return {name: row[name] for name in kind.__struct_fields__}

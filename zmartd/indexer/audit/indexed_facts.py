"""Reads from the database the facts that the audit compares with accounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.indexer.audit.comparison import ProgramFacts
from zmartd.indexer.effects.facts import (
    COUNTED_FACTS,
    MARKET_FACTS,
    POSITION_FACTS,
    ConfigurationFacts,
    MarketFacts,
    PositionFacts,
)
from zmartd.indexer.rebuild.corrections import Correction, corrections_by_address

_MARKETS = f"""
select market.on_chain_address, market.version, market.reprice_from is not null as unfinished, {MARKET_FACTS},
       coalesce(traded.trades, 0) as trades, coalesce(traded.volume, 0) as trades_volume,
       coalesce(traded.protocol_fees, 0) as trades_protocol_fees,
       coalesce(cast_.proposal, 0) as proposal_votes, coalesce(cast_.dispute, 0) as dispute_votes,
       greatest(market.slot, market.corrected_slot, traded.slot, cast_.slot, held.slot) as seen_slot
  from markets as market
  left join (
      select trade.market_id, count(*) as trades, max(trade.slot) as slot,
             sum(trade.protocol_fee) as protocol_fees,
             sum(case when trade.trade_type = 'buy' then trade.cost else trade.amount end) as volume
        from trades as trade join markets as its on its.id = trade.market_id
       where ($1::text[] is null or its.on_chain_address = any($1))
         and trade.slot > coalesce(its.corrected_slot, -1)
       group by trade.market_id
  ) as traded on traded.market_id = market.id
  left join (
      select vote.market_id, max(vote.slot) as slot,
             count(*) filter (where vote.event_type = 'ProposalVoteSubmitted') as proposal,
             count(*) filter (where vote.event_type = 'DisputeVoteSubmitted') as dispute
        from vote_events as vote join markets as its on its.id = vote.market_id
       where ($1::text[] is null or its.on_chain_address = any($1))
         and vote.slot > coalesce(its.corrected_slot, -1)
       group by vote.market_id
  ) as cast_ on cast_.market_id = market.id
  left join (
      select held.market_id, max(held.slot) as slot
        from user_positions as held join markets as its on its.id = held.market_id
       where ($1::text[] is null or its.on_chain_address = any($1))
       group by held.market_id
  ) as held on held.market_id = market.id
 where not orphaned and ($1::text[] is null or on_chain_address = any($1))
"""  # noqa: S608 - constants
_POSITIONS = f"""
select on_chain_address, user_wallet, {POSITION_FACTS}
  from user_positions as held join markets on markets.id = held.market_id
 where $1::text[] is null or on_chain_address = any($1)
"""  # noqa: S608 - constants
_CONFIGURATION_SLOT = "select slot from protocol"
_CONFIGURATION = """
select is_paused, admin, backend_authority, protocol_fee_bps, resolver_reward_bps, liquidity_provider_fee_bps,
       proposal_approval_threshold, dispute_success_threshold, min_resolution_delay, dispute_period
  from protocol
"""


class IndexedFacts(Struct, frozen=True):
    """The facts, and each market's version and slot by address."""

    facts: ProgramFacts
    versions: Mapping[str, int]
    """A change of a market gives it a new one."""
    slots: Mapping[str, int]
    """What was applied last is of this slot: an account of an earlier one is older than the index."""
    unfinished: frozenset[str] = frozenset()
    """The addresses of markets of which trades are still to be priced anew."""


async def read_index(connection: Connection) -> IndexedFacts:
    """The whole index. Takes a service transaction."""
    return await _read(connection, None, await read_indexed_configuration(connection))


async def read_indexed_configuration(connection: Connection) -> ConfigurationFacts:
    """The configuration. Takes a service transaction."""
    (configuration,) = await connection.fetch(_CONFIGURATION)
    return ConfigurationFacts(**dict(configuration))


async def indexed_configuration_slot(connection: Connection) -> int:
    """The slot of what was last applied to the configuration. Takes a service transaction."""
    slot: int = await connection.fetchval(_CONFIGURATION_SLOT)
    return slot


async def read_indexed_markets(connection: Connection, addresses: Sequence[str]) -> IndexedFacts:
    """Markets with their positions, without the configuration. Takes a service transaction."""
    return await _read(connection, addresses, ConfigurationFacts())


async def _read(
    connection: Connection, addresses: Sequence[str] | None, configuration: ConfigurationFacts
) -> IndexedFacts:
    markets = await connection.fetch(_MARKETS, addresses)
    corrections = await corrections_by_address(connection, addresses)
    positions = await connection.fetch(_POSITIONS, addresses)
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
        {row["on_chain_address"]: row["seen_slot"] for row in markets},
        frozenset(row["on_chain_address"] for row in markets if row["unfinished"]),
    )


def _market(row: Record, corrections: Mapping[str, Correction]) -> MarketFacts:
    facts = MarketFacts(**_fields(row, MarketFacts))
    correction = corrections.get(row["on_chain_address"])
    if correction is None:
        return facts
    # Counted were the rows since the correction, which holds the number of all before.
    more = {name: getattr(facts, name) + getattr(correction.market, name) for name in COUNTED_FACTS}
    return msgspec.structs.replace(facts, **more)


def _fields(row: Record, kind: type[MarketFacts] | type[PositionFacts]) -> dict[str, Any]:
    return {name: row[name] for name in kind.__struct_fields__}

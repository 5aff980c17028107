"""Event rows that are not what the chain says, replaced; and what follows from them, built again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from asyncpg import Connection

from zmartd.indexer.effects import markets
from zmartd.indexer.effects.configuration import (
    CONFIGURATION_EVENTS,
    apply_configuration,
    clear_configuration,
)
from zmartd.indexer.events.recording import record_events
from zmartd.indexer.events.removal import remove_events
from zmartd.indexer.events.rows import EventRow, stored_row
from zmartd.indexer.rebuild.event_diff import EventDiff
from zmartd.indexer.rebuild.markets import rebuild_markets
from zmartd.realtime.messages import Message

_READDRESS = """
update markets set on_chain_address = right_one.address
  from unnest($1::text[], $2::text[]) as right_one (id, address)
 where markets.id = right_one.id and on_chain_address <> right_one.address
"""
_STRAY_TRADES = """
delete from trades using trade_events as event
 where event.market_id = any($1::text[]) and trades.market_id <> event.market_id
   and trades.tx_signature = event.tx_signature and trades.event_index = event.event_index
returning trades.market_id
"""
_SETTLE_TRADES = """
update trades set commitment = event.commitment from trade_events as event
 where event.market_id = any($1::text[]) and trades.commitment <> event.commitment
   and trades.tx_signature = event.tx_signature and trades.event_index = event.event_index
"""
_CONFIGURATIONS = "select * from admin_events where event_type = any($1::text[]) order by slot, event_index"
_SETTLE_CONFIGURATIONS = """
update protocol_config_history as told set commitment = event.commitment from admin_events as event
 where told.tx_signature = event.tx_signature and told.event_index = event.event_index
   and told.commitment <> event.commitment
"""
_RATES = """
select slot, event_index, tx_signature, protocol_fee_bps, resolver_reward_bps, liquidity_provider_fee_bps
  from protocol_config_history where event_type <> 'ProtocolPauseStatusChanged'
"""


async def replace_events(
    connection: Connection,
    correction: EventDiff,
    market_addresses: Mapping[str, str],
    at: datetime,
) -> list[Message]:
    """Replace event rows, and build these markets again and all others that the rows are of.

    `market_addresses` maps ids to addresses, of all markets that rows to write are of. Where a row is about
    the configuration, that is built again, too. The news is of the time `at`. Takes a service transaction.
    """
    removed = await remove_events(connection, correction.wrong)
    if market_addresses:
        await connection.execute(_READDRESS, list(market_addresses), list(market_addresses.values()))
    right = sorted(correction.right, key=lambda row: row.key)
    await _record(connection, right, market_addresses, at)
    touched = {*market_addresses, *(row["market_id"] for row in removed if row["market_id"] is not None)}
    strays = await connection.fetch(_STRAY_TRADES, sorted(touched))
    touched |= {row["market_id"] for row in strays}
    types = {row["event_type"] for row in removed} | {row.event_type for row in right}
    rates_from = None if types.isdisjoint(CONFIGURATION_EVENTS) else await _rebuild_configuration(connection)
    news = await rebuild_markets(connection, touched, at, rates_from)
    await connection.execute(_SETTLE_TRADES, sorted(touched))
    return news


async def rebuild_configuration(connection: Connection, at: datetime) -> list[Message]:
    """Build the program's configuration again from its event rows, and price trades again where fees are
    others than they were. Takes a service transaction."""
    return await rebuild_markets(connection, set(), at, await _rebuild_configuration(connection))


async def _rebuild_configuration(connection: Connection) -> int | None:
    """Returns the slot from which fees are others than they were, if any."""
    rows = [stored_row(row) for row in await connection.fetch(_CONFIGURATIONS, sorted(CONFIGURATION_EVENTS))]
    before = {tuple(row) for row in await connection.fetch(_RATES)}
    await clear_configuration(connection)
    await apply_configuration(connection, rows, "confirmed")
    await connection.execute(_SETTLE_CONFIGURATIONS)
    changed = before ^ {tuple(row) for row in await connection.fetch(_RATES)}
    return min((slot for slot, *_ in changed), default=None)


async def _record(
    connection: Connection, right: Sequence[EventRow], market_addresses: Mapping[str, str], at: datetime
) -> None:
    """Write event rows without their effects, and make the rows of their markets."""
    known = await markets.known_addresses(connection, right)
    known |= {address: market_id for market_id, address in market_addresses.items()}
    ids = [row.market_id or known.get(row.market_address or "") for row in right]
    await record_events(connection, right, ids, "confirmed")
    first_seen = {market_id: (address, at) for market_id, address in market_addresses.items()}
    await markets.ensure_markets(connection, first_seen)

"""Replaces event rows that differ from the chain, and rebuilds what is derived from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from asyncpg import Connection

from zmartd.chain.commitment import Commitment
from zmartd.indexer.effects import markets
from zmartd.indexer.effects.configuration import (
    CONFIGURATION_EVENTS,
    apply_configuration,
    clear_configuration,
)
from zmartd.indexer.effects.configuration_lock import lock_configuration
from zmartd.indexer.events.recording import record_events
from zmartd.indexer.events.removal import remove_events
from zmartd.indexer.events.rows import EventRow, stored_row
from zmartd.indexer.rebuild.corrections import drop_corrections, end_corrections
from zmartd.indexer.rebuild.event_diff import EventDiff
from zmartd.indexer.rebuild.markets import rebuild_markets
from zmartd.realtime.messages import AnyMessage

_SET_ADDRESSES = """
update markets set on_chain_address = given.address
  from unnest($1::text[], $2::text[]) as given (id, address)
 where markets.id = given.id and on_chain_address <> given.address
"""
_STRAY_TRADES = """
delete from trades using trade_events as event
 where event.market_id = any($1::text[]) and trades.market_id <> event.market_id
   and trades.tx_signature = event.tx_signature and trades.event_index = event.event_index
returning trades.market_id
"""
_CONFIGURATIONS = "select * from admin_events where event_type = any($1::text[])"
_COPY_CONFIGURATION_COMMITMENT = """
update protocol_config_history as history set commitment = event.commitment from admin_events as event
 where history.tx_signature = event.tx_signature and history.event_index = event.event_index
   and history.commitment <> event.commitment
"""
_RATES = """
select slot, event_index, tx_signature, protocol_fee_bps, resolver_reward_bps, liquidity_provider_fee_bps
  from protocol_config_history where event_type <> 'ProtocolPauseStatusChanged'
"""


async def replace_events(
    connection: Connection,
    diff: EventDiff,
    market_addresses: Mapping[str, str],
    at: datetime,
    commitment: Commitment = "confirmed",
    *,
    compared: Iterable[str] = (),
) -> list[AnyMessage]:
    """Replace event rows, then rebuild the markets in `market_addresses` and all others that lost a row.

    `market_addresses` maps ids to addresses and contains every market of `diff.to_record` that may have no
    row yet. Where a row is about the configuration, that is rebuilt, too. Rows are recorded with
    `commitment`, messages bear the time `at`. Of the markets in `compared` all events were compared with the
    chain. Takes a service transaction.
    """
    removed = await remove_events(connection, diff.to_remove)
    if market_addresses:
        await connection.execute(_SET_ADDRESSES, list(market_addresses), list(market_addresses.values()))
    to_record = sorted(diff.to_record, key=lambda row: row.key)
    recorded_in = await _record(connection, to_record, market_addresses, at, commitment)
    touched = {*market_addresses, *(market_id for market_id in recorded_in if market_id is not None)}
    touched |= {row["market_id"] for row in removed if row["market_id"] is not None}
    strays = await connection.fetch(_STRAY_TRADES, sorted(touched))
    touched |= {row["market_id"] for row in strays}
    await drop_corrections(connection, compared)
    await end_corrections(
        connection,
        [
            *zip(recorded_in, (row.slot for row in to_record), strict=True),
            *((row["market_id"], row["slot"]) for row in removed),
        ],
    )
    types = {row["event_type"] for row in removed} | {row.event_type for row in to_record}
    rates_from = None if types.isdisjoint(CONFIGURATION_EVENTS) else await _rebuild_configuration(connection)
    return await rebuild_markets(
        connection, touched, at, rates_from, removed=removed, recorded=to_record, commitment=commitment
    )


async def rebuild_configuration(connection: Connection, at: datetime) -> list[AnyMessage]:
    """Rebuild the program's configuration from its event rows, and reprice trades where fee rates changed.

    Messages bear the time `at`. Takes a service transaction.
    """
    return await rebuild_markets(connection, set(), at, await _rebuild_configuration(connection), removed=())


async def _rebuild_configuration(connection: Connection) -> int | None:
    """Returns the slot from which fee rates changed, if they did."""
    await lock_configuration(connection)
    rows = [stored_row(row) for row in await connection.fetch(_CONFIGURATIONS, sorted(CONFIGURATION_EVENTS))]
    before = {tuple(row) for row in await connection.fetch(_RATES)}
    await clear_configuration(connection)
    await apply_configuration(connection, rows, "confirmed")
    await connection.execute(_COPY_CONFIGURATION_COMMITMENT)
    changed = before ^ {tuple(row) for row in await connection.fetch(_RATES)}
    return min((slot for slot, *_ in changed), default=None)


async def _record(
    connection: Connection,
    rows: Sequence[EventRow],
    market_addresses: Mapping[str, str],
    at: datetime,
    commitment: str,
) -> list[str | None]:
    """Write event rows without their effects, and create the missing rows of their markets.

    Returns the id of each row's market.
    """
    known = await markets.known_addresses(connection, rows)
    known |= {address: market_id for market_id, address in market_addresses.items()}
    ids = [row.market_id or known.get(row.market_address or "") for row in rows]
    await record_events(connection, rows, ids, commitment)
    first_seen = {market_id: (address, at) for market_id, address in market_addresses.items()}
    await markets.ensure_markets(connection, first_seen)
    return ids

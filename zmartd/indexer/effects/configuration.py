"""The program's configuration, derived from its admin events, and the history of its fee rates."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from asyncpg import Connection
from msgspec import Struct

from zmartd.chain.events import ConfigUpdated, GlobalConfigInitialized, ProtocolPauseStatusChanged
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.events.rows import EventRow
from zmartd.market.fees import INITIAL_RATES, FeeRates, configured_rates

_HISTORY = """
insert into protocol_config_history
       (tx_signature, event_index, slot, index_in_block, block_time, event_type, admin, backend_authority,
        protocol_fee_bps, resolver_reward_bps, liquidity_provider_fee_bps, proposal_approval_threshold,
        dispute_success_threshold, min_resolution_delay, dispute_period, is_paused, commitment)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
on conflict do nothing
"""
_CURRENT = """
with latest as (
    select (select row(h.*)::protocol_config_history from protocol_config_history as h
             where h.event_type = 'GlobalConfigInitialized'
             order by slot desc, event_index desc limit 1) as made,
           (select row(h.*)::protocol_config_history from protocol_config_history as h
             where h.event_type = 'ConfigUpdated'
             order by slot desc, event_index desc limit 1) as updated,
           (select row(h.*)::protocol_config_history from protocol_config_history as h
             where h.event_type = 'ProtocolPauseStatusChanged'
             order by slot desc, event_index desc limit 1) as paused
)
update protocol
   set admin = coalesce((made).admin, protocol.admin),
       backend_authority = coalesce((made).backend_authority, protocol.backend_authority),
       protocol_fee_bps = coalesce((updated).protocol_fee_bps, (made).protocol_fee_bps,
                                   protocol.protocol_fee_bps),
       resolver_reward_bps = coalesce((updated).resolver_reward_bps, protocol.resolver_reward_bps),
       liquidity_provider_fee_bps = coalesce((updated).liquidity_provider_fee_bps,
                                             protocol.liquidity_provider_fee_bps),
       proposal_approval_threshold = coalesce((updated).proposal_approval_threshold,
                                              protocol.proposal_approval_threshold),
       dispute_success_threshold = coalesce((updated).dispute_success_threshold,
                                            protocol.dispute_success_threshold),
       min_resolution_delay = coalesce((updated).min_resolution_delay, protocol.min_resolution_delay),
       dispute_period = coalesce((updated).dispute_period, protocol.dispute_period),
       is_paused = coalesce((paused).is_paused, protocol.is_paused),
       slot = greatest(protocol.slot, (made).slot, (updated).slot, (paused).slot),
       version = protocol.version + 1
  from latest
"""

_DELETE_HISTORY = """
delete from protocol_config_history as gone
 using unnest($1::text[], $2::bigint[]) as lost (tx_signature, slot)
 where gone.tx_signature = lost.tx_signature and gone.slot = lost.slot
returning event_type, gone.slot
"""
_RESET_CURRENT = """
update protocol
   set admin = default, backend_authority = default, protocol_fee_bps = default,
       resolver_reward_bps = default, liquidity_provider_fee_bps = default,
       proposal_approval_threshold = default, dispute_success_threshold = default,
       min_resolution_delay = default, dispute_period = default, is_paused = default, slot = default
"""
_SET = {
    **dict.fromkeys(("is_paused",), "update protocol set {} = $1::boolean"),
    **dict.fromkeys(("admin", "backend_authority"), "update protocol set {} = $1::text"),
    **dict.fromkeys(
        (
            *("protocol_fee_bps", "resolver_reward_bps", "liquidity_provider_fee_bps"),
            *("proposal_approval_threshold", "dispute_success_threshold"),
            *("min_resolution_delay", "dispute_period"),
        ),
        "update protocol set {} = $1::bigint",
    ),
}
_RATES = """
select slot, protocol_fee_bps, resolver_reward_bps, liquidity_provider_fee_bps
  from protocol_config_history
 where event_type in ('GlobalConfigInitialized', 'ConfigUpdated')
 order by slot, index_in_block nulls first, event_index
"""

_KINDS = (GlobalConfigInitialized, ConfigUpdated, ProtocolPauseStatusChanged)
CONFIGURATION_EVENTS = frozenset(kind.__name__ for kind in _KINDS)
"""The event types that configure the program."""


class RateHistory(Struct, frozen=True):
    """Fee rates by the slot that set them, oldest first. A trade is charged rates set in an earlier slot."""

    slots: tuple[int, ...]
    rates: tuple[FeeRates, ...]

    def at(self, slot: int) -> FeeRates:
        position = bisect_left(self.slots, slot)
        return self.rates[position - 1] if position else INITIAL_RATES


async def apply_configuration(
    connection: Connection, rows: Sequence[EventRow], commitment: str
) -> int | None:
    """Apply new configuration events. Returns the slot from which fee rates may have changed, if any."""
    history = [
        (row, columns)
        for row in rows
        if isinstance(row.event, _KINDS) and (columns := _columns(row)) is not None
    ]
    if not history:
        return None
    await connection.executemany(
        _HISTORY,
        [
            (*row.key, row.slot, row.index_in_block, row.block_time, row.event_type, *columns, commitment)
            for row, columns in history
        ],
    )
    await connection.execute(_CURRENT)
    return min(
        (row.slot for row, _ in history if not isinstance(row.event, ProtocolPauseStatusChanged)),
        default=None,
    )


async def remove_configuration(
    connection: Connection, transactions: Sequence[TransactionInSlot]
) -> int | None:
    """Remove what these transactions configured. Returns what `apply_configuration` returns."""
    removed = await connection.fetch(
        _DELETE_HISTORY, [one.signature for one in transactions], [one.slot for one in transactions]
    )
    if not removed:
        return None
    await connection.execute(_RESET_CURRENT)
    await connection.execute(_CURRENT)
    pause = ProtocolPauseStatusChanged.__name__
    return min((row["slot"] for row in removed if row["event_type"] != pause), default=None)


async def clear_configuration(connection: Connection) -> None:
    """Reset the configuration and its history. Takes a service transaction."""
    await connection.execute("delete from protocol_config_history")
    await connection.execute(_RESET_CURRENT)


async def set_configuration(connection: Connection, facts: Mapping[str, object]) -> None:
    """Set fields of the configuration, until an event sets them again. Takes a service transaction."""
    for field, value in sorted(facts.items()):
        await connection.execute(_SET[field].format(field), value)
    await connection.execute("update protocol set version = version + 1")


async def rate_history(connection: Connection) -> RateHistory:
    """All changes of the fee rates in the index."""
    rows = await connection.fetch(_RATES)
    return RateHistory(
        slots=tuple(slot for slot, *_ in rows), rates=tuple(configured_rates(*rates) for _, *rates in rows)
    )


def _columns(row: EventRow) -> tuple[Any, ...] | None:
    match row.event:
        case GlobalConfigInitialized() as made:
            return (str(made.admin), str(made.backend_authority), made.protocol_fee_bps, *[None] * 7)
        case ConfigUpdated() as updated:
            return (
                None,
                None,
                updated.protocol_fee_bps,
                updated.resolver_reward_bps,
                updated.liquidity_provider_fee_bps,
                updated.proposal_approval_threshold,
                updated.dispute_success_threshold,
                updated.min_resolution_delay,
                updated.dispute_period,
                None,
            )
        case ProtocolPauseStatusChanged() as paused:
            return (*[None] * 9, paused.is_paused)
        case _:
            return None

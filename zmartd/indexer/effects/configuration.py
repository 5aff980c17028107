"""The program's configuration, derived from its admin events, and the history of its fee rates."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from asyncpg import Connection
from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.events import ConfigUpdated, GlobalConfigInitialized, ProtocolPauseStatusChanged
from zmartd.indexer.effects.configuration_lock import lock_configuration
from zmartd.indexer.effects.facts import ConfigurationFacts
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.events.rows import ChainPlace, EventRow
from zmartd.market.fees import INITIAL_RATES, FeeRates, configured_rates

# Everywhere here: what a correction says was so after its slot, and of events without a place in their block
# the order is that of their signatures, before all that have one.
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
             where h.admin is not null
             order by slot desc, event_type = 'ConfigCorrected' desc, index_in_block desc nulls last,
                      tx_signature desc, event_index desc limit 1) as made,
           (select row(h.*)::protocol_config_history from protocol_config_history as h
             where h.resolver_reward_bps is not null
             order by slot desc, event_type = 'ConfigCorrected' desc, index_in_block desc nulls last,
                      tx_signature desc, event_index desc limit 1) as updated,
           (select row(h.*)::protocol_config_history from protocol_config_history as h
             where h.is_paused is not null
             order by slot desc, event_type = 'ConfigCorrected' desc, index_in_block desc nulls last,
                      tx_signature desc, event_index desc limit 1) as paused
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

_CONFIGURED_FROM = """
select min(slot)
  from protocol_config_history
  join unnest($1::text[], $2::bigint[]) as lost (tx_signature, slot) using (tx_signature, slot)
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
_CORRECT = """
insert into protocol_config_history
       (tx_signature, event_index, slot, event_type, admin, backend_authority, protocol_fee_bps,
        resolver_reward_bps, liquidity_provider_fee_bps, proposal_approval_threshold,
        dispute_success_threshold, min_resolution_delay, dispute_period, is_paused, commitment)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 'finalized')
on conflict (tx_signature, event_index) do update
   set admin = excluded.admin, backend_authority = excluded.backend_authority,
       protocol_fee_bps = excluded.protocol_fee_bps, resolver_reward_bps = excluded.resolver_reward_bps,
       liquidity_provider_fee_bps = excluded.liquidity_provider_fee_bps,
       proposal_approval_threshold = excluded.proposal_approval_threshold,
       dispute_success_threshold = excluded.dispute_success_threshold,
       min_resolution_delay = excluded.min_resolution_delay, dispute_period = excluded.dispute_period,
       is_paused = excluded.is_paused
"""
_CORRECTIONS = "select * from protocol_config_history where event_type = $1 order by slot, tx_signature"
_DROP_CORRECTIONS = """
with dropped as (
    delete from protocol_config_history where event_type = $1 and slot >= $3 returning slot
), reopened as (
    update truncated_transactions set resolved_at = null
     where changes @> array[$2::text] and reason is not null and slot <= (select max(slot) from dropped)
       and slot > (select coalesce(max(slot), -1) from protocol_config_history
                    where event_type = $1 and slot < $3)
)
select min(slot) from dropped
"""
_RATES = """
select slot, index_in_block, tx_signature, event_index,
       protocol_fee_bps, resolver_reward_bps, liquidity_provider_fee_bps
  from protocol_config_history
 where protocol_fee_bps is not null
 order by slot, event_type = 'ConfigCorrected', index_in_block nulls first, tx_signature, event_index
"""

_RATES_SET_IN = """
select min(slot) from protocol_config_history where protocol_fee_bps is not null and slot = any($1::bigint[])
"""

_RATE_EVENTS = (GlobalConfigInitialized, ConfigUpdated)
_KINDS = (*_RATE_EVENTS, ProtocolPauseStatusChanged)
CONFIGURATION_EVENTS = frozenset(kind.__name__ for kind in _KINDS)
"""The event types that configure the program."""


_CORRECTED = "ConfigCorrected"
_LAST = 2**31 - 1
_UPDATED = (
    "protocol_fee_bps",
    "resolver_reward_bps",
    "liquidity_provider_fee_bps",
    "proposal_approval_threshold",
    "dispute_success_threshold",
    "min_resolution_delay",
    "dispute_period",
)
"""What ConfigUpdated says, all of it each time."""


class ConfigurationCorrection(Struct, frozen=True):
    """What the account says of the configuration beyond the events.

    It is so since the transaction `signature` in `slot`, the last of those that cannot be read. A field is
    None where the events say it.
    """

    signature: str
    slot: int
    facts: ConfigurationFacts


class RatesSet(NamedTuple):
    """Fee rates, and the place on the chain at which they were set."""

    place: ChainPlace
    rates: FeeRates


class RateHistory(Struct, frozen=True):
    """All changes of the fee rates, oldest first."""

    changes: tuple[RatesSet, ...]

    def at(self, place: ChainPlace) -> tuple[FeeRates, ...]:
        """The rates in force at a place: the last that were certainly set before it, then those of its slot
        of which nobody knows whether they were.
        """
        start = bisect_left(self.changes, place.slot, key=lambda change: change.place.slot)
        in_force = self.changes[start - 1].rates if start else INITIAL_RATES
        others: list[FeeRates] = []
        for change in self.changes[start:]:
            if change.place.slot > place.slot:
                break
            is_before = change.place.is_before(place)
            if is_before:
                in_force = change.rates
            elif is_before is None:
                others.append(change.rates)
        return (in_force, *others)


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
    return rates_changed_from(rows)


def rates_changed_from(rows: Sequence[EventRow]) -> int | None:
    """The slot from which events may have changed the fee rates; None if none of them can have."""
    return min((row.slot for row in rows if isinstance(row.event, _RATE_EVENTS)), default=None)


async def remove_configuration(
    connection: Connection,
    transactions: Sequence[TransactionInSlot],
    account: Pubkey,
    unread_slots: Sequence[int] = (),
) -> int | None:
    """Remove what these transactions configured, and the corrections after the first of them. Returns what
    `apply_configuration` returns.

    `unread_slots` are those of transactions that changed the configuration, which has its account at
    `account`, without an event that is known.
    """
    lost = [one.signature for one in transactions], [one.slot for one in transactions]
    configured_from = await connection.fetchval(_CONFIGURED_FROM, *lost)
    slots = [slot for slot in (configured_from, *unread_slots) if slot is not None]
    if not slots:
        return None
    await lock_configuration(connection)
    corrected_from = await drop_configuration_corrections(connection, account, min(slots))
    removed = await connection.fetch(_DELETE_HISTORY, *lost)
    await refresh_configuration(connection)
    pause = ProtocolPauseStatusChanged.__name__
    rates_from = [row["slot"] for row in removed if row["event_type"] != pause]
    return min((*rates_from, *([] if corrected_from is None else [corrected_from])), default=None)


async def refresh_configuration(connection: Connection) -> None:
    """Derive the present configuration from its history. Takes a service transaction."""
    await connection.execute(_RESET_CURRENT)
    await connection.execute(_CURRENT)


async def rates_set_in(connection: Connection, slots: Collection[int]) -> int | None:
    """The first of these slots in which fee rates were set, if one is. Takes a service transaction."""
    found: int | None = await connection.fetchval(_RATES_SET_IN, sorted(slots))
    return found


async def clear_configuration(connection: Connection) -> None:
    """Reset the configuration and its history, corrections left out. Takes a service transaction."""
    await connection.execute("delete from protocol_config_history where event_type <> $1", _CORRECTED)
    await refresh_configuration(connection)


async def correct_configuration(connection: Connection, correction: ConfigurationCorrection) -> int | None:
    """Store what the account says beyond the events. Takes a service transaction.

    Returns the slot from which fee rates may have changed, if any.
    """
    facts = correction.facts
    columns = (facts.admin, facts.backend_authority, *(getattr(facts, name) for name in _UPDATED))
    await connection.execute(
        _CORRECT, correction.signature, _LAST, correction.slot, _CORRECTED, *columns, facts.is_paused
    )
    await connection.execute(_CURRENT)
    return None if facts.protocol_fee_bps is None else correction.slot


async def configuration_corrections(connection: Connection) -> list[ConfigurationCorrection]:
    """All corrections of the configuration, oldest first. Takes a service transaction."""
    return [
        ConfigurationCorrection(
            row["tx_signature"],
            row["slot"],
            ConfigurationFacts(**{name: row[name] for name in ConfigurationFacts.__struct_fields__}),
        )
        for row in await connection.fetch(_CORRECTIONS, _CORRECTED)
    ]


async def drop_configuration_corrections(
    connection: Connection, address: Pubkey, since: int = 0
) -> int | None:
    """Remove the corrections of the configuration, which has its account at `address`, from a slot on.

    The truncated transactions that they made up for are open again. Returns the slot of the first of them.
    The configuration has to be rebuilt afterwards. Takes a service transaction.
    """
    dropped_from: int | None = await connection.fetchval(_DROP_CORRECTIONS, _CORRECTED, str(address), since)
    return dropped_from


async def rate_history(connection: Connection) -> RateHistory:
    """All changes of the fee rates in the index."""
    rows = await connection.fetch(_RATES)
    return RateHistory(
        tuple(
            RatesSet(ChainPlace(slot, index, signature, ordinal), configured_rates(*rates))
            for slot, index, signature, ordinal, *rates in rows
        )
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

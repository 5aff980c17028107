"""The pulse: a row that one daemon at a time raises. All of these take a service transaction or reader."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.store.postgres.reader import Reads

_DUE = """
select 'infinity'::float8 as newest_seconds where not exists (select from pulses)
union all
select extract(epoch from clock_timestamp() - newest_at)::float8
  from pulses
 where committed_at not between clock_timestamp() - make_interval(secs => $1) and clock_timestamp()
"""
# The first three statements change nothing. They wait where somebody keeps these tables from being written.
_RAISE = """
with streams_are_writable as (update streams set seq = seq where false),
     messages_are_writable as (update stream_messages set seq = seq where false),
     markets_are_writable as (update markets set version = version where false)
insert into pulses as pulse (number, committed_at, slot, chain_time, raised_at, newest_slot, newest_at)
values (1, clock_timestamp(), coalesce($2::bigint, 0), coalesce($3::bigint, 0), clock_timestamp(),
        coalesce($4::bigint, 0), clock_timestamp())
on conflict (id) do update
   set number = pulse.number + 1, committed_at = excluded.committed_at,
       slot = coalesce($2, pulse.slot), chain_time = coalesce($3, pulse.chain_time),
       raised_at = case when $2 <> pulse.slot then excluded.committed_at else pulse.raised_at end,
       newest_slot = coalesce($4, pulse.newest_slot),
       newest_at = case when $4 <> pulse.newest_slot then excluded.committed_at else pulse.newest_at end
 where pulse.committed_at not between excluded.committed_at - make_interval(secs => $1)
                                  and excluded.committed_at
returning number, slot, chain_time,
          extract(epoch from committed_at - raised_at)::float8 as raised_seconds,
          extract(epoch from committed_at - newest_at)::float8 as newest_seconds
"""

COLUMNS: Final = """
pulse.number, pulse.slot, pulse.chain_time,
extract(epoch from pulse.committed_at - pulse.raised_at)::float8 as raised_seconds,
extract(epoch from pulse.committed_at - pulse.newest_at)::float8 as newest_seconds
"""
"""The fields of a Pulse, of a row of pulses that is called `pulse`."""


_CHAIN_NOW = """
select to_timestamp(chain_time) + (clock_timestamp() - raised_at) from pulses where chain_time > 0
"""


class Pulse(Struct, frozen=True):
    """A commit that shows that others can be made."""

    number: int
    slot: int
    """Up to this slot the index lacks no transaction of the program."""
    chain_time: int
    """That slot's time by the chain's clock, in unix seconds."""
    raised_seconds: float
    """How long before the commit that slot last changed."""
    newest_seconds: float
    """How long before the commit a node told another slot than before."""


class ChainProgress(Struct, frozen=True):
    """What a node told: the newest slot, and the slot up to which the index lacks nothing, with its time."""

    newest_slot: int
    slot: int
    chain_time: int


async def due(connection: Reads, interval_seconds: float) -> float | None:
    """Where the pulse is older than the interval: how long ago, in seconds, a node told its newest slot.

    None where another daemon has raised it since.
    """
    newest_seconds: float | None = await connection.fetchval(_DUE, interval_seconds)
    return newest_seconds


async def chain_now(connection: Reads) -> datetime | None:
    """About what time it is by the chain's clock: that of the pulse's slot, and what has passed since."""
    found: datetime | None = await connection.fetchval(_CHAIN_NOW)
    return found


async def beat(
    connection: Connection, interval_seconds: float, progress: ChainProgress | None
) -> Pulse | None:
    """Raise the pulse, unless another daemon has within the interval; then None.

    `progress` is None where no node was asked.
    """
    values: Sequence[int | None] = (None, None, None)
    if progress is not None:
        values = progress.slot, progress.chain_time, progress.newest_slot
    row = await connection.fetchrow(_RAISE, interval_seconds, *values)
    return None if row is None else from_row(row)


def from_row(row: Record) -> Pulse | None:
    """The pulse in a row of COLUMNS, which may have more columns; None where there is none yet."""
    if row["number"] is None:
        return None
    return Pulse(**{name: row[name] for name in Pulse.__struct_fields__})

"""What the index has of one transaction. All of these take a service transaction or reader."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from zmartd.chain.commitment import Commitment
from zmartd.store.postgres.reader import Reads

_KEPT = """
from (
    select commitment, slot from program_events where tx_signature = $1
    union all select commitment, slot from quarantined_events where tx_signature = $1
    union all select commitment, slot from truncated_transactions where tx_signature = $1
    union all select 'finalized', slot from eventless_transactions where tx_signature = $1
) as kept
"""
_COMMITMENT = f"select bool_and(commitment = 'finalized') {_KEPT} where slot = $2"
_EXISTS = f"select exists (select 1 {_KEPT})"
_RETRACTED_SLOT = "select max(slot) from orphaned_events where tx_signature = $1"
_EVENTS = """
select event_type, event_index, slot, block_time, payload, commitment from program_events
 where tx_signature = $1
   and not exists (select from quarantined_events where tx_signature = $1)
   and not exists (select from truncated_transactions where tx_signature = $1 and not complete)
 order by event_index
"""


class IndexedEvent(Struct, frozen=True):
    """An event's type, and the payload that its row keeps."""

    event_type: str
    payload: dict[str, Any]


class IndexedTransaction(Struct, frozen=True):
    """A transaction that succeeded, with all of its events in order."""

    slot: int
    block_time: datetime | None
    commitment: Commitment
    events: tuple[IndexedEvent, ...]


async def find(connection: Reads, signature: str) -> IndexedTransaction | None:
    """A transaction of which the index has all events.

    None where it has no event, could not read all of them, or has events in more than one slot.
    """
    rows = await connection.fetch(_EVENTS, signature)
    if len({row["slot"] for row in rows}) != 1:
        return None
    is_final = all(row["commitment"] == "finalized" for row in rows)
    return IndexedTransaction(
        slot=rows[0]["slot"],
        block_time=rows[0]["block_time"],
        commitment="finalized" if is_final else "confirmed",
        events=tuple(IndexedEvent(row["event_type"], msgspec.json.decode(row["payload"])) for row in rows),
    )


async def exists(connection: Reads, signature: str) -> bool:
    """Whether the index has anything of a transaction, be it only in quarantine."""
    found: bool = await connection.fetchval(_EXISTS, signature)
    return found


async def retracted_slot(connection: Reads, signature: str) -> int | None:
    """The last slot in which the index had something of a transaction and took it back; None without any."""
    found: int | None = await connection.fetchval(_RETRACTED_SLOT, signature)
    return found


async def commitment(connection: Reads, signature: str, slot: int) -> Commitment | None:
    """The lowest commitment of what the index has of a transaction in that slot; None if it has nothing."""
    is_final = await connection.fetchval(_COMMITMENT, signature, slot)
    if is_final is None:
        return None
    return "finalized" if is_final else "confirmed"

"""What the index has of one transaction, where that is all there is to tell."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from zmartd.store.commitments import Commitment
from zmartd.store.postgres.reader import Reads

_EVENTS = """
select event_type, event_index, slot, block_time, payload, commitment from (
    select event_type, event_index, slot, block_time, payload, commitment
      from market_events where tx_signature = $1
    union all
    select event_type, event_index, slot, block_time, payload, commitment
      from trade_events where tx_signature = $1
    union all
    select event_type, event_index, slot, block_time, payload, commitment
      from vote_events where tx_signature = $1
    union all
    select event_type, event_index, slot, block_time, payload, commitment
      from admin_events where tx_signature = $1
) as events
 where not exists (select from quarantined_events where tx_signature = $1)
   and not exists (select from truncated_transactions where tx_signature = $1)
 order by event_index
"""


class ToldEvent(Struct, frozen=True):
    """One of the transaction's events: its name, and the payload that its row keeps."""

    event_type: str
    payload: dict[str, Any]


class Told(Struct, frozen=True):
    """A transaction that succeeded, with all of its events in their order."""

    slot: int
    block_time: datetime | None
    commitment: Commitment
    events: tuple[ToldEvent, ...]


async def transaction(connection: Reads, signature: str) -> Told | None:
    """None where the index has no event of it, could not read all of them, or has them in several slots.

    Takes a service transaction.
    """
    rows = await connection.fetch(_EVENTS, signature)
    if len({row["slot"] for row in rows}) != 1:
        return None
    is_final = all(row["commitment"] == "finalized" for row in rows)
    return Told(
        slot=rows[0]["slot"],
        block_time=rows[0]["block_time"],
        commitment="finalized" if is_final else "confirmed",
        events=tuple(ToldEvent(row["event_type"], msgspec.json.decode(row["payload"])) for row in rows),
    )

"""The events of one database transaction, and the ids of their markets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from zmartd.chain.commitment import Commitment
from zmartd.indexer.events.rows import EventRow


class Batch(Struct, frozen=True):
    """Events whose effects are to be applied. `addresses` maps addresses of known markets to ids."""

    rows: Sequence[EventRow]
    addresses: Mapping[str, str]
    commitment: Commitment

    def market_of(self, row: EventRow) -> str | None:
        """The id of the event's market; None if it has no market, or one whose address is not known."""
        return row.market_id or self.addresses.get(row.market_address or "")

    @property
    def slots(self) -> dict[str, int]:
        """The markets of the batch, each with the slot of its last event."""
        slots: dict[str, int] = {}
        for row in self.rows:
            market_id = self.market_of(row)
            if market_id is not None:
                slots[market_id] = max(slots.get(market_id, 0), row.slot)
        return slots

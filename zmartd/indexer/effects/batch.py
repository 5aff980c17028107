"""The new events of one call of `Indexer.apply`, and what is known about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from zmartd.indexer.events.rows import EventRow


class Batch(Struct, frozen=True):
    """Events to apply, each for the first time.

    `addresses` maps market addresses to ids, as far as this batch knows them.
    """

    rows: Sequence[EventRow]
    addresses: Mapping[str, str]
    commitment: str

    def market_of(self, row: EventRow) -> str | None:
        """The id of the event's market; None if it has none, or is named by an address nobody knows yet."""
        return row.market_id or self.addresses.get(row.market_address or "")

    @property
    def slots(self) -> dict[str, int]:
        """The latest slot in which each market of the batch changed."""
        slots: dict[str, int] = {}
        for row in self.rows:
            market_id = self.market_of(row)
            if market_id is not None:
                slots[market_id] = max(slots.get(market_id, 0), row.slot)
        return slots

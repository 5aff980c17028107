"""The new events of one call of `Indexer.apply`, and what is known about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from zmartd.chain.arguments import DisputeCount, MarketCreation
from zmartd.indexer.rows import EventRow


class Batch(Struct, frozen=True):
    """Events to apply, each for the first time.

    `addresses` maps market addresses to ids, `creations` market ids (32 bytes) to the arguments they were
    created with, `dispute_counts` (signature, market address) to the votes that a finalization gave; all as
    far as this batch knows them.
    """

    rows: Sequence[EventRow]
    addresses: Mapping[str, str]
    creations: Mapping[bytes, MarketCreation]
    dispute_counts: Mapping[tuple[str, str], DisputeCount]
    commitment: str

    def market_of(self, row: EventRow) -> str | None:
        """The id of the event's market; None if it has none, or is named by an address nobody knows yet."""
        return row.market_id or self.addresses.get(row.market_address or "")

    def dispute_count(self, row: EventRow) -> DisputeCount | None:
        """The votes that came with the finalization of the event's market, in the event's transaction."""
        for (signature, address), count in self.dispute_counts.items():
            if signature == row.signature and self.addresses.get(address) == row.market_id:
                return count
        return None

    @property
    def slots(self) -> dict[str, int]:
        """The latest slot in which each market of the batch changed."""
        slots: dict[str, int] = {}
        for row in self.rows:
            market_id = self.market_of(row)
            if market_id is not None:
                slots[market_id] = max(slots.get(market_id, 0), row.slot)
        return slots

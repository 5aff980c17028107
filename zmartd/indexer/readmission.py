"""Quarantined lines, decoded by a codec that knows more: those it can read go through the door."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from asyncpg import Record
from msgspec import Struct

from zmartd.chain.codec import Codec
from zmartd.chain.transactions import ChainTransaction, EventRecord
from zmartd.chain.wire import UndecodableData
from zmartd.indexer.apply import Indexer
from zmartd.store.pool import Database

_BATCH = 500
_OPEN = """
select id, tx_signature, event_index, slot, index_in_block, block_time, data
  from quarantined_events where resolved_at is null and id > $1 order by id limit $2
"""


class Readmission(Struct, frozen=True):
    """Lines that were in quarantine: how many can be read now and were applied, and how many have to stay."""

    applied: int
    remaining: int


async def readmit(database: Database, indexer: Indexer, codec: Codec) -> Readmission:
    """Apply every quarantined line that `codec` reads, and mark it resolved in the same transaction.

    Raises DatabaseUnavailable or DatabaseTimeout.
    """
    applied = remaining = last = 0
    while rows := await _open_lines(database, last):
        last = rows[-1]["id"]
        events: dict[str, list[EventRecord]] = defaultdict(list)
        for row in rows:
            try:
                event = EventRecord(row["event_index"], codec.decode_event(row["data"]))
            except UndecodableData:
                remaining += 1
            else:
                events[row["tx_signature"]].append(event)
                applied += 1
        first = {row["tx_signature"]: row for row in reversed(rows)}
        await indexer.readmit([_transaction(first[signature], found) for signature, found in events.items()])
    return Readmission(applied, remaining)


async def _open_lines(database: Database, after: int) -> Sequence[Record]:
    async with database.service() as connection:
        return list(await connection.fetch(_OPEN, after, _BATCH))


def _transaction(row: Record, events: Sequence[EventRecord]) -> ChainTransaction:
    """As much of a transaction as was kept of it: the lines that can be read now, and their place."""
    return ChainTransaction(
        signature=row["tx_signature"],
        slot=row["slot"],
        block_time=None if row["block_time"] is None else int(row["block_time"].timestamp()),
        index_in_block=row["index_in_block"],
        succeeded=True,
        error=None,
        events=tuple(events),
        quarantined=(),
        creations=(),
        dispute_counts=(),
        logs_truncated=False,
    )

"""Quarantined lines, read by a program that knows more: what they say now goes through the door.

Most lines are all that there is to say. But what a few events did stands partly beside them, in the arguments
and payments of their transactions (see `aside`), and of a transaction that nobody could read at all only its
beginning was kept: these transactions are fetched again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from asyncpg import Record
from msgspec import Struct

from zmartd.chain.codec import Codec
from zmartd.chain.transactions import ChainTransaction, EventRecord, Quarantined
from zmartd.chain.wire import UndecodableData
from zmartd.indexer.events.event_context import EVENTS_WITH_CONTEXT
from zmartd.indexer.fetch import Fetcher
from zmartd.store.postgres.database import Database

_BATCH = 500
_OPEN = """
select id, tx_signature, event_index, slot, index_in_block, block_time, data
  from quarantined_events where resolved_at is null and id > $1 order by id limit $2
"""
_JSON = b"{"
"""How the JSON of a transaction begins, which is kept where nobody could read the transaction."""

Key = tuple[str, int]
"""A line's signature and ordinal."""


class QuarantineReport(Struct, frozen=True):
    """Lines that were in quarantine: how many can be read now and were applied, and how many have to stay.

    `not_found` are transactions that some of the latter need, and that the RPC node does not give.
    """

    applied: int
    remaining: int
    not_found: tuple[str, ...] = ()


async def retry_quarantined(database: Database, fetcher: Fetcher, codec: Codec) -> QuarantineReport:
    """Apply every quarantined line that can be read, and mark it resolved in the same transaction.

    `codec` and the fetcher's parser know the same events. Raises RpcUnavailable, DatabaseUnavailable or
    DatabaseTimeout.
    """
    applied = remaining = last = 0
    not_found: list[str] = []
    while rows := await _open_lines(database, last):
        last = rows[-1]["id"]
        lines: dict[str, list[Record]] = defaultdict(list)
        for row in rows:
            lines[row["tx_signature"]].append(row)
        kept = {signature: _as_kept(of_one, codec) for signature, of_one in lines.items()}
        fetched = await fetcher.fetch([key for key, tx in kept.items() if _says_more(tx, lines[key])])
        missing = {*fetched.not_found}
        now = kept | {tx.signature: tx for tx in fetched.transactions}
        told = {signature: tx for signature, tx in now.items() if signature not in missing}
        read = [key for signature, tx in told.items() for key in _read(tx, lines[signature])]
        await fetcher.indexer.apply_quarantined([tx for tx in told.values() if tx.events], read)
        applied += len(read)
        remaining += len(rows) - len(read)
        not_found += fetched.not_found
    return QuarantineReport(applied, remaining, tuple(not_found))


async def _open_lines(database: Database, after: int) -> Sequence[Record]:
    async with database.service() as connection:
        return list(await connection.fetch(_OPEN, after, _BATCH))


def _says_more(transaction: ChainTransaction, lines: Sequence[Record]) -> bool:
    """Whether the transaction itself says more than what was kept of it."""
    return any(type(record.event) in EVENTS_WITH_CONTEXT for record in transaction.events) or any(
        line["data"].startswith(_JSON) for line in lines
    )


def _read(transaction: ChainTransaction, lines: Sequence[Record]) -> Iterator[Key]:
    """The lines that this transaction resolves: each is one of its events, or is nothing that it says."""
    if not transaction.succeeded:
        return
    unread = {line.ordinal for line in transaction.quarantined}
    for line in lines:
        if line["event_index"] not in unread:
            yield line["tx_signature"], line["event_index"]


def _as_kept(lines: Sequence[Record], codec: Codec) -> ChainTransaction:
    """As much of a transaction as was kept of it: its lines in quarantine, and their place."""
    events: list[EventRecord] = []
    quarantined: list[Quarantined] = []
    for line in lines:
        try:
            events.append(EventRecord(line["event_index"], codec.decode_event(line["data"])))
        except UndecodableData as error:
            quarantined.append(Quarantined(line["event_index"], line["data"], error.message))
    first = lines[0]
    return ChainTransaction(
        signature=first["tx_signature"],
        slot=first["slot"],
        block_time=None if first["block_time"] is None else int(first["block_time"].timestamp()),
        index_in_block=first["index_in_block"],
        succeeded=True,
        error=None,
        events=tuple(events),
        quarantined=tuple(quarantined),
        creations=(),
        dispute_counts=(),
        logs_truncated=False,
    )

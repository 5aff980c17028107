"""Retries quarantined lines with the present IDL, and applies those that can be decoded.

Most lines are all that is needed. The transactions of a few events are fetched again: those whose context is
in the transaction (see `event_context`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from asyncpg import Record
from msgspec import Struct

from zmartd.chain.codec import Codec
from zmartd.chain.transactions import ChainTransaction, EventRecord, Quarantined
from zmartd.chain.wire import UndecodableData
from zmartd.indexer.apply import Indexer
from zmartd.indexer.events.event_context import EVENTS_WITH_CONTEXT
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.parking import is_of_one_transaction
from zmartd.log import get_logger
from zmartd.store.postgres.database import Database

_BATCH = 500
_OPEN = """
select id, tx_signature, event_index, slot, index_in_block, block_time, data
  from quarantined_events where resolved_at is null and id > $1 order by id limit $2
"""
log = get_logger(__name__)

Key = tuple[str, int]
"""A line's signature and ordinal."""


class QuarantineReport(Struct, frozen=True):
    """How many quarantined lines were applied, and how many remain.

    `not_found` are transactions that some of the latter need and that the RPC node does not give.
    """

    applied: int
    remaining: int
    not_found: tuple[str, ...] = ()


async def retry_quarantined(database: Database, fetcher: Fetcher, codec: Codec) -> QuarantineReport:
    """Apply every quarantined line that can be decoded, and resolve it in the same database transaction.

    `codec` and the fetcher's parser must use the same IDL. Raises RpcUnavailable, DatabaseUnavailable or
    DatabaseTimeout.
    """
    applied = remaining = last = 0
    not_found: list[str] = []
    while rows := await _open_lines(database, last):
        last = rows[-1]["id"]
        lines: dict[str, list[Record]] = defaultdict(list)
        for row in rows:
            lines[row["tx_signature"]].append(row)
        decoded = {signature: _decode(of_one, codec) for signature, of_one in lines.items()}
        fetched = await fetcher.fetch([key for key, tx in decoded.items() if _is_partial(tx)])
        missing = (*fetched.not_found, *(one.signature for one in fetched.unread))
        transactions = decoded | {tx.signature: tx for tx in fetched.transactions}
        for signature in missing:
            del transactions[signature]
        resolved = await _apply(fetcher.indexer, list(transactions.values()), lines)
        applied += resolved
        remaining += len(rows) - resolved
        not_found += missing
    return QuarantineReport(applied, remaining, tuple(not_found))


async def _open_lines(database: Database, after: int) -> Sequence[Record]:
    async with database.service() as connection:
        return list(await connection.fetch(_OPEN, after, _BATCH))


async def _apply(
    indexer: Indexer, transactions: Sequence[ChainTransaction], lines: Mapping[str, Sequence[Record]]
) -> int:
    """Apply transactions, one by one where one of them fails. Returns how many lines that resolves."""
    resolved = [key for tx in transactions for key in _resolved(tx, lines[tx.signature])]
    try:
        await indexer.apply_quarantined([tx for tx in transactions if tx.events], resolved)
    except Exception as error:
        if not is_of_one_transaction(error):
            raise
        if len(transactions) > 1:
            return sum([await _apply(indexer, [transaction], lines) for transaction in transactions])
        log.warning("quarantine.not_applied", signature=transactions[0].signature, exc_info=error)
        return 0
    return len(resolved)


def _is_partial(transaction: ChainTransaction) -> bool:
    """Whether the transaction says more than its quarantined lines."""
    return any(type(record.event) in EVENTS_WITH_CONTEXT for record in transaction.events)


def _resolved(transaction: ChainTransaction, lines: Sequence[Record]) -> Iterator[Key]:
    """The lines that applying the transaction resolves: all but those that it has in quarantine again."""
    if not transaction.succeeded:
        return
    undecodable = {line.ordinal for line in transaction.quarantined}
    for line in lines:
        if line["event_index"] not in undecodable:
            yield line["tx_signature"], line["event_index"]


def _decode(lines: Sequence[Record], codec: Codec) -> ChainTransaction:
    """The part of a transaction that its quarantined lines hold."""
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

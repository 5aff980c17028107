"""Compares the stored event rows of transactions with what the RPC node says these transactions did.

Deliveries of a webhook are trusted only until their transactions are final: whoever may deliver can put other
logs under a signature that the chain has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import msgspec
from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.chain.pdas import Pdas
from zmartd.chain.transactions import ChainTransaction
from zmartd.indexer.effects.markets import known_addresses
from zmartd.indexer.events.payloads import payload_json
from zmartd.indexer.events.rows import EventRow, event_row

Key = tuple[str, int]
"""An event's signature and ordinal."""

_STORED = "select * from program_events where tx_signature = any($1::text[])"
_QUARANTINED = """
select tx_signature, event_index, data from quarantined_events
 where tx_signature = any($1::text[]) and resolved_at is null
"""
_TRUNCATED = "select tx_signature from truncated_transactions where tx_signature = any($1::text[])"


class EventDiff(Struct, frozen=True):
    """The event rows to remove and those to record, so that the index has what the chain says."""

    to_remove: tuple[Key, ...] = ()
    to_record: tuple[EventRow, ...] = ()

    def __add__(self, other: EventDiff) -> EventDiff:
        return EventDiff(self.to_remove + other.to_remove, self.to_record + other.to_record)

    def __bool__(self) -> bool:
        return bool(self.to_remove or self.to_record)


async def diff_events(
    connection: Connection,
    rows: Sequence[EventRow],
    signatures: Sequence[str],
    partial: Collection[str],
    addresses: Mapping[str, str],
) -> EventDiff:
    """Compare the stored events of transactions with `rows`, which are all their events.

    Transactions in `partial` may have more events than `rows` has of them: their other rows stay. `addresses`
    maps market addresses to ids. Takes a service transaction.
    """
    expected = {row.key: row for row in rows}
    stored: dict[Key, list[Record]] = defaultdict(list)
    for record in await connection.fetch(_STORED, signatures):
        stored[record["tx_signature"], record["event_index"]].append(record)
    equal = {key for key, row in expected.items() if _is_stored(stored.get(key, ()), row, addresses)}
    differing = (key for key in stored if key not in equal and (key in expected or key[0] not in partial))
    return EventDiff(tuple(differing), tuple(row for key, row in expected.items() if key not in equal))


def _is_stored(
    records: Sequence[Record], row: EventRow, addresses: Mapping[str, str], *, truncated: bool = False
) -> bool:
    """Whether `records`, the stored rows of one event (at most one in each table), are exactly this row.

    What a claim paid to the resolver does not follow from `truncated` logs: there it may be inferred.
    """
    if len(records) != 1:
        return False
    stored = records[0]
    facts = (
        *(stored[name] for name in ("source", "event_type", "slot", "block_time", "actor", "market_id")),
        msgspec.json.decode(stored["payload"]),
    )
    market_id = row.market_id or addresses.get(row.market_address or "")
    payload = msgspec.json.decode(payload_json(row.event, row.context))
    if truncated:
        for fields in (facts[-1], payload):
            fields.pop("resolver_fee", None)
    return facts == (row.table, row.event_type, row.slot, row.block_time, row.actor, market_id, payload)


async def differing_signatures(
    connection: Connection, transactions: Sequence[ChainTransaction], pdas: Pdas
) -> set[str]:
    """The signatures of the transactions, as fetched from the node, whose rows in the index differ.

    Takes a service transaction.
    """
    signatures = [tx.signature for tx in transactions]
    rows = {tx.signature: _rows(tx, pdas) for tx in transactions}
    addresses = await known_addresses(connection, [row for of_one in rows.values() for row in of_one])
    stored: dict[str, list[Record]] = defaultdict(list)
    for record in await connection.fetch(_STORED, signatures):
        stored[record["tx_signature"]].append(record)
    lines: dict[str, set[tuple[int, bytes]]] = defaultdict(set)
    for line in await connection.fetch(_QUARANTINED, signatures):
        lines[line["tx_signature"]].add((line["event_index"], line["data"]))
    truncated = {row["tx_signature"] for row in await connection.fetch(_TRUNCATED, signatures)}
    return {
        tx.signature
        for tx in transactions
        if not _has_exactly(stored[tx.signature], rows[tx.signature], addresses, tx)
        or lines[tx.signature] != {(line.ordinal, line.data) for line in tx.quarantined}
        or (tx.signature in truncated) != tx.logs_truncated
    }


def _rows(transaction: ChainTransaction, pdas: Pdas) -> list[EventRow]:
    if not transaction.succeeded:
        return []
    return [event_row(transaction, record, pdas) for record in transaction.events]


def _has_exactly(
    stored: Sequence[Record],
    rows: Sequence[EventRow],
    addresses: Mapping[str, str],
    transaction: ChainTransaction,
) -> bool:
    """Whether the stored events are these, each once.

    A transaction with truncated logs may have more: those that were inferred.
    """
    by_ordinal: dict[int, list[Record]] = defaultdict(list)
    for record in stored:
        by_ordinal[record["event_index"]].append(record)
    logged = {row.ordinal for row in rows}
    more = [record for record in stored if record["event_index"] not in logged]
    inferred = transaction.logs_truncated and all(record["commitment"] == "finalized" for record in more)
    return (not more or inferred) and all(
        _is_stored(by_ordinal[row.ordinal], row, addresses, truncated=transaction.logs_truncated)
        for row in rows
    )

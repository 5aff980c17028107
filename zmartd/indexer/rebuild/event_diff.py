"""What the index has of transactions, against what the node says they did.

A webhook's word is taken until a transaction is final. Its signature proves nothing about the rest: anybody
who may deliver can put other logs under a signature that the chain has.
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
    """Event rows to take away, and those to have instead."""

    wrong: tuple[Key, ...] = ()
    right: tuple[EventRow, ...] = ()

    def __add__(self, other: EventDiff) -> EventDiff:
        return EventDiff(self.wrong + other.wrong, self.right + other.right)

    def __bool__(self) -> bool:
        return bool(self.wrong or self.right)


async def diff_events(
    connection: Connection,
    rows: Sequence[EventRow],
    signatures: Sequence[str],
    untold: Collection[str],
    addresses: Mapping[str, str],
) -> EventDiff:
    """What of the stored events of these transactions differs from `rows`, which are all that they have.

    Except for `untold` transactions, which may have more events than `rows` has of them. `addresses` maps
    market addresses to ids. Takes a service transaction.
    """
    right = {row.key: row for row in rows}
    stored: dict[Key, list[Record]] = defaultdict(list)
    for kept in await connection.fetch(_STORED, signatures):
        stored[kept["tx_signature"], kept["event_index"]].append(kept)
    equal = {key for key, row in right.items() if is_stored(stored.get(key, ()), row, addresses)}
    wrong = (key for key in stored if key not in equal and (key in right or key[0] not in untold))
    return EventDiff(tuple(wrong), tuple(row for key, row in right.items() if key not in equal))


def is_stored(kept: Sequence[Record], row: EventRow, addresses: Mapping[str, str]) -> bool:
    """Whether the one stored row is this one. There may be none, or one in each table."""
    if len(kept) != 1:
        return False
    stored = kept[0]
    facts = (
        *(stored[name] for name in ("source", "event_type", "slot", "block_time", "actor", "market_id")),
        msgspec.json.decode(stored["payload"]),
    )
    market_id = row.market_id or addresses.get(row.market_address or "")
    payload = msgspec.json.decode(payload_json(row.event, row.context))
    return facts == (row.table, row.event_type, row.slot, row.block_time, row.actor, market_id, payload)


async def differing_signatures(
    connection: Connection, transactions: Sequence[ChainTransaction], pdas: Pdas
) -> set[str]:
    """The signatures of those whose rows say otherwise than `transactions`, which come from the node.

    Takes a service transaction.
    """
    signatures = [tx.signature for tx in transactions]
    rows = {tx.signature: _rows(tx, pdas) for tx in transactions}
    addresses = await known_addresses(connection, [row for of_one in rows.values() for row in of_one])
    stored: dict[str, list[Record]] = defaultdict(list)
    for kept in await connection.fetch(_STORED, signatures):
        stored[kept["tx_signature"]].append(kept)
    lines: dict[str, set[tuple[int, bytes]]] = defaultdict(set)
    for line in await connection.fetch(_QUARANTINED, signatures):
        lines[line["tx_signature"]].add((line["event_index"], line["data"]))
    truncated = {row["tx_signature"] for row in await connection.fetch(_TRUNCATED, signatures)}
    return {
        tx.signature
        for tx in transactions
        if not _are_all(stored[tx.signature], rows[tx.signature], addresses, tx)
        or lines[tx.signature] != {(line.ordinal, line.data) for line in tx.quarantined}
        or (tx.signature in truncated) != tx.logs_truncated
    }


def _rows(transaction: ChainTransaction, pdas: Pdas) -> list[EventRow]:
    if not transaction.succeeded:
        return []
    return [event_row(transaction, record, pdas) for record in transaction.events]


def _are_all(
    stored: Sequence[Record],
    rows: Sequence[EventRow],
    addresses: Mapping[str, str],
    transaction: ChainTransaction,
) -> bool:
    """Whether the stored events are these, each once.

    Of a transaction with truncated logs there may be more, which a restoration has worked out.
    """
    kept: dict[int, list[Record]] = defaultdict(list)
    for one in stored:
        kept[one["event_index"]].append(one)
    told = {row.ordinal for row in rows}
    more = [one for one in stored if one["event_index"] not in told]
    worked_out = transaction.logs_truncated and all(one["commitment"] == "finalized" for one in more)
    return (not more or worked_out) and all(is_stored(kept[row.ordinal], row, addresses) for row in rows)

"""Which columns of the projection the chain alone decides, and one hash of them per table.

A replay of the chain must give the same hashes. Not compared is what the chain does not say: texts that
creators registered, votes, users and discussions from the API, what tasks and admins decided. Nor is what
depends on who told of a transaction: its place in the block, how final it was then, and the cost basis of
wallets that traded more than once in a slot. Votes on the chain are among the events.
"""

from __future__ import annotations

import hashlib
from typing import Final

from asyncpg import Connection

from zmartd.indexer.events.rows import EVENT_TABLES

_TOLD: Final = ("index_in_block", "commitment", "created_at", "received_at", "updated_at", "version", "id")
_TEXTS: Final = (
    *("question", "description", "category", "tags", "end_date", "metadata_verified"),
    *("discussion_snapshot_cid", "search"),
)
_EVENT_ROWS: Final = (
    "select to_jsonb(kept) - $1::text[] as fact from {} as kept order by tx_signature, event_index"
)

TABLES: Final = {
    "markets": (
        "select to_jsonb(kept) - $1::text[] as fact from markets as kept where not orphaned order by kept.id",
        (*_TEXTS, "awaiting_decision", "settles_at", "commitment", "updated_at", "version"),
    ),
    "user_positions": (
        "select to_jsonb(kept) - $1::text[] as fact from user_positions as kept"
        ' order by market_id, user_wallet collate "C"',
        ("updated_at",),
    ),
    "dispute_electorate": (
        "select to_jsonb(kept) - $1::text[] as fact from dispute_electorate as kept"
        ' order by market_id, user_wallet collate "C"',
        ("stake",),
    ),
    "protocol": (
        "select to_jsonb(kept) - $1::text[] as fact from protocol as kept",
        ("updated_at", "version"),
    ),
    "trades": (_EVENT_ROWS.format("trades"), _TOLD),
    **{table: (_EVENT_ROWS.format(table), _TOLD) for table in EVENT_TABLES},
    "protocol_config_history": (_EVENT_ROWS.format("protocol_config_history"), _TOLD),
}
"""For each table its rows in an order of their own, and the columns that are left out of them."""


async def table_checksums(connection: Connection) -> dict[str, str]:
    """SHA-256 of each table's facts. Takes a service transaction."""
    return {table: await _hash(connection, query, left_out) for table, (query, left_out) in TABLES.items()}


async def _hash(connection: Connection, query: str, left_out: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    async for row in connection.cursor(query, list(left_out), prefetch=1_000):
        digest.update(row["fact"].encode() + b"\n")
    return digest.hexdigest()

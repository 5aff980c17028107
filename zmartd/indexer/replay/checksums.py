"""A checksum of each table, over the columns that the chain alone decides.

A replay of the chain must give the same checksums. They leave out what does not derive from the chain: texts
that creators registered, votes, users and discussions from the API, decisions of tasks and admins. They also
leave out what depends on where a transaction was read: its place in the block, its commitment then, the
cost basis of wallets that traded more than once in a slot, and the first and last price of a period. Votes on
the chain are among the events.
"""

from __future__ import annotations

import hashlib
from typing import Final

from asyncpg import Connection

from zmartd.indexer.events.rows import EVENT_TABLES

_NOT_FROM_CHAIN: Final = (
    "index_in_block",
    "commitment",
    "created_at",
    "received_at",
    "updated_at",
    "version",
    "id",
)
_TEXTS: Final = (
    *("question", "description", "category", "tags", "end_date", "metadata_verified"),
    *("discussion_snapshot_cid", "search", "search_text"),
)
_EVENT_ROWS: Final = (
    "select to_jsonb(kept) - $1::text[] as fact from {} as kept order by tx_signature, event_index"
)
# Which unread transaction resolved a market, a replay may not know: the node has to give its time.
_MARKETS: Final = """
select (to_jsonb(kept) - $1::text[]) || jsonb_build_object('resolved_in', (
           select kept.resolved_in where not exists (
               select from truncated_transactions as unread
                where unread.tx_signature = kept.resolved_in and not unread.complete))) as fact
  from markets as kept where not orphaned order by kept.id
"""

CHECKED_TABLES: Final = {
    "markets": (
        _MARKETS,
        (
            *(*_TEXTS, "awaiting_admin_approval", "awaiting_decision", "settles_at"),
            *("commitment", "updated_at", "version"),
        ),
    ),
    "user_positions": (
        "select to_jsonb(kept) - $1::text[] as fact from user_positions as kept"
        ' order by market_id, user_wallet collate "C"',
        ("updated_at",),
    ),
    "candles": (
        "select to_jsonb(kept) - $1::text[] as fact from candles as kept"
        " order by market_id, seconds, starts_at",
        ("open", "close", "first_place", "last_place"),
    ),
    "lots": (
        "select to_jsonb(kept) - $1::text[] as fact from lots as kept"
        ' order by market_id, user_wallet collate "C", outcome',
        ("shares", "cost", "profit", "newest_trade", "last_trade_at"),
    ),
    "market_traders": (
        "select to_jsonb(kept) - $1::text[] as fact from market_traders as kept"
        " where traders > 0 order by market_id",
        (),
    ),
    "market_holdings": (
        "select to_jsonb(kept) - $1::text[] as fact from market_holdings as kept"
        " where (holders_yes, holders_no, refundable) <> (0, 0, 0) order by market_id",
        (),
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
    "trades": (_EVENT_ROWS.format("trades"), _NOT_FROM_CHAIN),
    **{table: (_EVENT_ROWS.format(table), _NOT_FROM_CHAIN) for table in EVENT_TABLES},
    "protocol_config_history": (_EVENT_ROWS.format("protocol_config_history"), _NOT_FROM_CHAIN),
}
"""For each table a query of its rows in a fixed order, and the columns that are left out."""


async def table_checksums(connection: Connection) -> dict[str, str]:
    """The SHA-256 checksum of each table. Takes a service transaction."""
    return {
        table: await _checksum(connection, query, left_out)
        for table, (query, left_out) in CHECKED_TABLES.items()
    }


async def _checksum(connection: Connection, query: str, left_out: tuple[str, ...]) -> str:
    """The cursor is SQL's, because asyncpg's gives its statement a name, also behind a transaction pooler."""
    digest = hashlib.sha256()
    await connection.execute(f"declare facts no scroll cursor for {query}", list(left_out))
    while rows := await connection.fetch("fetch 1000 from facts"):
        for row in rows:
            digest.update(row["fact"].encode() + b"\n")
    await connection.execute("close facts")
    return digest.hexdigest()

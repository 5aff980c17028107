"""Rows that tests of the store put into the database, named by what matters about them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from asyncpg import Connection, Record

from zmartd.market.ids import base58_encode
from zmartd.market.lifecycle import MarketState
from zmartd.store.postgres.reader import Reads

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def wallet(name: str) -> str:
    """The same address for the same name."""
    return base58_encode(hashlib.sha256(name.encode()).digest())


def signature(name: str) -> str:
    return base58_encode(hashlib.sha512(name.encode()).digest())


def market_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def cid(name: str) -> str:
    return base58_encode(b"\x12\x20" + hashlib.sha256(name.encode()).digest())


async def insert(connection: Connection, table: str, **columns: Any) -> Any:
    """Insert one row; returns it."""
    names = ", ".join(columns)
    places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    return await connection.fetchrow(
        f"insert into {table} ({names}) values ({places}) returning *", *columns.values()
    )


async def first_row(connection: Reads, query: str, *arguments: Any) -> Record:
    """The first row of a query that has one."""
    row = await connection.fetchrow(query, *arguments)
    assert row is not None, query
    return row


async def insert_market(
    connection: Connection, name: str, state: MarketState = MarketState.ACTIVE, **columns: Any
) -> str:
    """A market with a known creation; returns its id."""
    given = {
        "id": market_id(name),
        "on_chain_address": wallet(f"market {name}"),
        "state": state.name,
        "state_changed_at": NOON,
        "creator_wallet": wallet("creator"),
        "b_parameter": 1_000_000_000_000,
        "initial_liquidity": 5_000_000_000,
        "current_liquidity": 5_000_000_000,
        "shares_yes": 1_000_000_000,
        "shares_no": 1_000_000_000,
        "created_at": NOON,
        "chain_confirmed": True,
    }
    await insert(connection, "markets", **(given | columns))
    return market_id(name)


async def insert_registration(connection: Connection, name: str, **columns: Any) -> None:
    """The texts of a market that its creator has registered."""
    given = {
        "market_id": market_id(name),
        "creator_wallet": wallet("creator"),
        "on_chain_address": wallet(f"market {name}"),
        "question": "Will it rain tomorrow?",
        "category": "other",
        "end_date": NOON,
        "cid": cid(name),
        "document": b"{}",
        "b_parameter": 1,
        "initial_liquidity": 1,
    }
    await insert(connection, "market_metadata", **(given | columns))


def trade_row(name: str, market: str, trader: str, **columns: Any) -> dict[str, Any]:
    """A purchase of YES."""
    return {
        "market_id": market,
        "user_wallet": trader,
        "trade_type": "buy",
        "outcome": True,
        "shares": 2_000_000_000,
        "cost": 1_100_000,
        "amount": 1_000_000,
        "protocol_fee": 30_000,
        "resolver_fee": 20_000,
        "lp_fee": 50_000,
        "exact": True,
        "price_after": 0.5,
        "tx_signature": signature(name),
        "event_index": 0,
        "slot": 100,
        "block_time": NOON,
    } | columns


async def insert_trade(connection: Connection, name: str, market: str, trader: str, **columns: Any) -> int:
    """A purchase of YES; returns the row's id."""
    row = await insert(connection, "trades", **trade_row(name, market, trader, **columns))
    return int(row["id"])


async def insert_trades(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """All in one statement. They have the same columns."""
    names = list(rows[0])
    places = ", ".join(
        f"({', '.join(f'${row * len(names) + column + 1}' for column in range(len(names)))})"
        for row in range(len(rows))
    )
    await connection.execute(
        f"insert into trades ({', '.join(names)}) values {places}",
        *(row[name] for row in rows for name in names),
    )


async def insert_position(connection: Connection, market: str, holder: str, **columns: Any) -> None:
    """A holding of YES."""
    given = {
        "market_id": market,
        "user_wallet": holder,
        "shares_yes": 2_000_000_000,
        "total_invested": 1_100_000,
        "trades_count": 1,
        "last_trade_at": NOON,
    }
    await insert(connection, "user_positions", **(given | columns))

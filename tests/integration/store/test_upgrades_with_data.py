"""A database that has been in use since an early version, with a row in every table as soon as there is one,
becomes one of today: each row is there and says what it said, and the schema is that of a new database.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import asyncpg
from asyncpg import Connection

from tests.integration.store.database_shape import shape
from tests.integration.store.postgres.rls_rows import OWNER, OWNERS, PUBLISHED_EDITION, Table, tables
from tests.integration.store.rows import NOON, insert, insert_market, market_id, signature
from zmartd.market.lifecycle import MarketState
from zmartd.store import schema
from zmartd.store.postgres.migrations import SQL_DIRECTORY, migrate

_STAGES: Final = (10, 20, 30, 40, 50)
"""The versions in which it was used."""
_NOT_BEFORE: Final = {"vote_tallies": 20, "market_corrections": 40}
"""Tables that a migration empties, because what they had is made again, and a version after that."""
_MADE_BY_MIGRATIONS: Final = {"protocol"}
_OF_THE_TIME: Final = {"task_runs": {"report": "{}"}}
"""Columns that a row had to have at first."""
_NAME: Final = OWNERS[OWNER]
_MARKETS: Final = {
    "proposed": MarketState.PROPOSED,
    "counted": MarketState.PROPOSED,
    "held": MarketState.RESOLVING,
    "settling": MarketState.DISPUTED,
    "disputed": MarketState.DISPUTED,
    "resolving": MarketState.RESOLVING,
}
_NEEDED: Final = {
    "vote_tallies": [
        {"market_id": market_id(f"settling {_NAME}"), "kind": "dispute", "yes": 0, "no": 0},
    ],
    "dispute_electorate": [
        {"market_id": market_id(f"{name} {_NAME}"), "user_wallet": OWNER, "stake": 1}
        for name in ("disputed", "resolving")
    ],
    "leaderboard_editions": [{"id": PUBLISHED_EDITION, "as_of": NOON, "markets_version": 0}],
}
"""What rows of other tables need to be there."""
_COLUMNS = """
select table_name::text, array_agg(column_name::text) as columns
  from information_schema.columns natural join information_schema.tables
 where table_schema = 'public' and table_type = 'BASE TABLE' group by table_name
"""


async def _columns(connection: Connection) -> dict[str, set[str]]:
    return {row["table_name"]: set(row["columns"]) for row in await connection.fetch(_COLUMNS)}


async def _open_markets(connection: Connection) -> None:
    for name, state in _MARKETS.items():
        is_resolved = state is not MarketState.PROPOSED
        at = {"resolution_proposed_at": NOON} if is_resolved else {}
        market = await insert_market(connection, f"{name} {_NAME}", state, **at)
        if is_resolved:
            await insert(
                connection,
                "market_events",
                tx_signature=signature(f"resolution of {name}"),
                event_index=0,
                slot=1,
                event_type="MarketResolved",
                market_id=market,
                payload="{}",
            )


async def _use(connection: Connection, version: int, filled: dict[str, dict[str, Any]]) -> None:
    """Insert a row into each table that has none of `filled` yet, and add it to that."""
    columns = await _columns(connection)
    for name, table in tables(OWNER).items():
        if (
            name in {*filled, *_MADE_BY_MIGRATIONS}
            or name not in columns
            or version < _NOT_BEFORE.get(name, 0)
        ):
            continue
        for needed in _NEEDED.get(name, []):
            await insert(connection, name, **needed)
        row = table.row | _OF_THE_TIME.get(name, {})
        filled[name] = {column: value for column, value in row.items() if column in columns[name]}
        await insert(connection, name, **filled[name])


async def _found(connection: Connection, name: str, table: Table) -> list[dict[str, Any]]:
    return [dict(row) for row in await connection.fetch(f"select * from {name} where {table.where}")]


async def test_rows_of_every_version_are_there_and_the_schema_is_that_of_a_new_database(
    empty_database_url: str, database_url: str, tmp_path: Path
) -> None:
    files, filled = sorted(SQL_DIRECTORY.glob("*.sql")), dict[str, dict[str, Any]]()
    connection = await asyncpg.connect(empty_database_url)
    try:
        for version in _STAGES:
            for file in files[:version]:
                (tmp_path / file.name).write_text(file.read_text())
            await migrate(empty_database_url, tmp_path)
            if version == _STAGES[0]:
                await _open_markets(connection)
            await _use(connection, version, filled)
        assert set(await _columns(connection)) - set(filled) <= _MADE_BY_MIGRATIONS

        await schema.bring_up_to_date(empty_database_url)

        for name, row in filled.items():
            found = await _found(connection, name, tables(OWNER)[name])
            assert len(found) == 1, name
            assert row.items() <= found[0].items(), name
    finally:
        await connection.close()
    assert await shape(empty_database_url) == await shape(database_url)

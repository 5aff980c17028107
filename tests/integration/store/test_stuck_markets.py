from __future__ import annotations

from datetime import UTC, datetime

from zmartd.market.lifecycle import MarketState
from zmartd.store import due_markets
from zmartd.store.postgres.database import Database

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


async def test_stuck_markets_are_found_without_reading_the_others(database: Database) -> None:
    states = [state.name for state in MarketState]
    async with database.service() as connection:
        # What a small table would get, as Postgres knows from analyzing it, or believes.
        await connection.execute("set local enable_seqscan = off; set local enable_sort = off")
        lines = await connection.fetch(f"explain {due_markets._STUCK}", *[NOON] * 4, 5, NOON, states)
    plan = "\n".join(line[0] for line in lines)
    assert "Seq Scan" not in plan
    for index in ("waiting_for_people", "active_until", "to_finalize", "in_dispute"):
        assert f"markets_{index}" in plan

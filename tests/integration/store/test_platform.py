from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.store.rows import insert_market, insert_trade, wallet
from zmartd.store import leaderboard, platform
from zmartd.store.postgres.database import Database

OLD_TRADES = 200
_RESULTS_READ = """
select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relname = 'trade_results'
"""


@pytest.mark.parametrize("hours", [0, 3, 60, None])
async def test_the_traders_of_the_day_are_counted_whenever_standings_were_added_up_last(
    database: Database, hours: int | None
) -> None:
    now = datetime.now(UTC)
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        for number in range(OLD_TRADES):
            moment = now - timedelta(hours=70, seconds=number)
            await insert_trade(
                connection, f"old {number}", market, wallet(f"w{number % 9}"), block_time=moment
            )
        for name, ago in (("a", 1), ("b", 2), ("c", 25), ("a", 22)):
            moment = now - timedelta(hours=ago)
            await insert_trade(connection, f"{name} {ago}", market, wallet(name), block_time=moment)
        if hours is not None:
            await leaderboard.publish(connection, now - timedelta(hours=hours), timedelta(0))
    async with database.service() as connection:
        before = await connection.fetchval(_RESULTS_READ) or 0
        totals = await platform.totals(connection)
        read = (await connection.fetchval(_RESULTS_READ) or 0) - before

    assert (totals.traders_24h, totals.traders) == (2, 12)
    assert hours is None or read < OLD_TRADES / 4  # a new database has no standings at first

"""The end of a market that very many hold shares of takes as long as it needs."""

from __future__ import annotations

import asyncpg

from bench.quiet_indexer import indexer_on
from tests.integration.indexer.story import whole_life
from zmartd import config
from zmartd.config_values import PostgresUrl
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate

TIMEOUT_SECONDS = 2.0
SLOWLY = """
create function zmartd.slowly() returns trigger language plpgsql as $$
begin
    perform pg_sleep(2.2);
    return null;
end $$;
create trigger slowly after update of state on markets for each row
    when (new.state = 'FINALIZED' and old.state <> 'FINALIZED') execute function zmartd.slowly()
"""


async def test_a_market_ends_though_its_holders_take_longer_than_a_statement_may(
    empty_database_url: str,
) -> None:
    await migrate(empty_database_url)
    administrator = await asyncpg.connect(empty_database_url)
    await administrator.execute(SLOWLY)
    await administrator.close()
    story = whole_life(3)
    settings = config.DatabaseSettings(
        url=PostgresUrl(empty_database_url), pool_size=2, statement_timeout_seconds=TIMEOUT_SECONDS
    )
    database = await Database.connect(settings)
    try:
        for transaction in story.transactions:
            await indexer_on(database).apply([transaction])
        async with database.service() as connection:
            state = await connection.fetchval("select state from markets")
            limit = await connection.fetchval("show statement_timeout")
    finally:
        await database.close()
    assert state == "FINALIZED"
    assert limit == "2s"

"""What `bench.scale` copies is what the indexer writes."""

from __future__ import annotations

from functools import partial

import msgspec

from bench.quiet_indexer import indexer_on
from bench.scale_fill import fill
from bench.synthetic_history import IDL, Rhythm, SyntheticHistory
from tests.integration.indexer.second_database import second_database
from tests.outside_servers import as_administrator
from zmartd.chain.codec import Codec
from zmartd.chain.transactions import parse_transaction
from zmartd.indexer.replay.checksums import table_checksums
from zmartd.store.postgres.database import Database

TRADES = 200
RHYTHM = Rhythm(7 * TRADES, TRADES, 0.3)


def a_history() -> SyntheticHistory:
    return SyntheticHistory(seed=5, markets=6, wallets=9, rhythm=RHYTHM)


async def test_copied_rows_are_those_that_are_applied(database: Database, database_url: str) -> None:
    await fill(as_administrator(database_url), a_history(), TRADES)
    async with database.service() as connection:
        copied = await table_checksums(connection)
        sales = await connection.fetchval("select count(*) from trades where trade_type = 'sell'")
        total = await connection.fetchval("select count(*) from trades where exact")
        busiest = await connection.fetchval("select max(trades_count) from markets")
    assert total == TRADES
    assert 0 < sales < TRADES
    assert busiest > TRADES * RHYTHM.busiest_share / 2

    history = a_history()
    parse = partial(parse_transaction, program_id=IDL.program_id, codec=Codec(IDL))
    transactions = [parse(msgspec.json.decode(one)) for one in (*history.openings(), *history.trades(TRADES))]
    async with second_database(database_url) as other:
        indexer = indexer_on(other)
        for start in range(0, len(transactions), 60):
            await indexer.apply(transactions[start : start + 60], "finalized")
        async with other.service() as connection:
            assert await table_checksums(connection) == copied

"""A commit whose answer is lost: what it recorded is sent all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from asyncpg import Connection
from redis.asyncio import Redis

from tests.integration.tasks.test_finalizing import due_market
from tests.integration.tasks.world import a_world
from zmartd.config import DatabaseSettings
from zmartd.config_values import PostgresUrl
from zmartd.market.lifecycle import MarketState
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseUnavailable
from zmartd.tasks.market_monitor import MarketMonitor
from zmartd.transactions.submission import Submitter


class CutOffDatabase(Database):
    """A database whose connection is lost once a transaction has been committed."""

    is_cut_off = False

    @asynccontextmanager
    async def service(self, *, keeps_plans: bool = False, first: str = "") -> AsyncIterator[Connection]:
        async with super().service(keeps_plans=keeps_plans, first=first) as connection:
            yield connection
        if self.is_cut_off:
            raise DatabaseUnavailable


async def test_an_authority_s_transaction_is_sent_though_the_answer_to_its_commit_was_lost(
    database: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    redis = Redis.from_url(redis_url)
    cut_off = await CutOffDatabase.connect(DatabaseSettings(url=PostgresUrl(database_url)))
    cut_off.is_cut_off = True
    async with a_world(tmp_path, database, redis) as world, world.daemon() as daemon:
        market = await due_market(world)
        context = daemon.context()
        submitter = Submitter(cut_off, daemon.sender, context.fetcher)
        (action,) = await MarketMonitor(replace(context, submitter=submitter)).run()
        assert (action.ok, action.detail) == (False, DatabaseUnavailable.meaning())
        while (await world.account(market)).state is not MarketState.FINALIZED:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    await cut_off.close()
    await redis.aclose()

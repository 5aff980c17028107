"""Answers about one market that are made of one statement."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.integration.http.rest.rest_api import running_api
from tests.integration.store.rows import insert_market
from zmartd import config
from zmartd.config_values import PostgresUrl
from zmartd.http.kit.operation import STREAM_POSITION
from zmartd.market.lifecycle import MarketState
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.reader import Reads
from zmartd.store.postgres.rls import Caller

DETAIL = "/api/markets/{}"
ESTIMATE = "/api/trades/estimate?market_id={}&outcome=true&target_cost=1000000000"


class CountedReads:
    """Counts what is read, whoever reads it."""

    def __init__(self, reads: Reads, counts: list[str]) -> None:
        self._reads = reads
        self._counts = counts

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        self._counts.append(query)
        return await self._reads.fetch(query, *args)

    async def fetchrow(self, query: str, *args: Any) -> Any:
        self._counts.append(query)
        return await self._reads.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        self._counts.append(query)
        return await self._reads.fetchval(query, *args)


class CountingDatabase(Database):
    """Knows all statements of its readers."""

    statements: list[str]

    @asynccontextmanager
    async def _reads(self, caller: Caller | None, require: bytes = b"") -> AsyncIterator[Reads]:
        async with super()._reads(caller, require) as reads:
            yield CountedReads(reads, self.statements)


@pytest.mark.parametrize(
    ("state", "path"),
    [
        (MarketState.PROPOSED, DETAIL),
        (MarketState.ACTIVE, DETAIL),
        (MarketState.DISPUTED, DETAIL),
        (MarketState.FINALIZED, DETAIL),
        (MarketState.ACTIVE, ESTIMATE),
    ],
)
async def test_an_answer_about_a_market_is_one_statement_and_says_its_position(
    database_url: str, redis_url: str, state: MarketState, path: str
) -> None:
    database = CountingDatabase(config.DatabaseSettings(url=PostgresUrl(database_url)))
    database.statements = []
    async with database.service() as connection:
        market = await insert_market(
            connection, "asked for", state=state, b_parameter=10**11, shares_yes=10**9, shares_no=10**9
        )
    async with running_api(database, redis_url) as api:
        database.statements.clear()
        answer = await api.client.get(path.format(market), headers={"Cache-Control": "no-cache"})
        assert answer.status == 200, await answer.text()
        assert answer.headers[STREAM_POSITION].endswith(":0")
        assert len([one for one in database.statements if "markets" in one]) == 1

"""Answers that are made of one statement, or of one for many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import running_api
from tests.integration.store.rows import insert_market, insert_position
from tests.patience import patient_database
from zmartd import config
from zmartd.config_values import PostgresUrl
from zmartd.http.kit.operation import STREAM_POSITION
from zmartd.http.kit.shared_reads import SharedReads
from zmartd.market.lifecycle import MarketState
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.reader import Reads
from zmartd.store.postgres.rls import Caller

ALICE, BOB = (Keypair.from_seed(bytes([number] * 32)) for number in (5, 6))
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


async def test_a_wallet_that_asks_for_its_positions_many_times_at_once_is_answered_by_two_readings(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking, all_ask = count(1), asyncio.Event()
    get = SharedReads.get

    async def counted_get(reads: SharedReads[Any, Any], key: Any, read: Any) -> Any:
        if next(asking) == 40:
            all_ask.set()
        return await get(reads, key, read)

    monkeypatch.setattr(SharedReads, "get", counted_get)
    database = CountingDatabase(patient_database(database_url))
    database.statements = []
    async with database.service() as connection:
        for holder in (ALICE, BOB):
            market = await insert_market(connection, f"of {holder}")
            await insert_position(connection, market, str(holder.pubkey()))
    async with running_api(database, redis_url) as api:
        database.statements.clear()
        async with database.service() as connection:  # until this ends nothing can be read
            await connection.execute("lock table user_positions in access exclusive mode")
            asked = [
                asyncio.create_task(api.as_wallet(holder).get(f"/api/users/{holder.pubkey()}/positions"))
                for holder in (ALICE, BOB)
                for _ in range(20)
            ]
            async with asyncio.timeout(60):
                await all_ask.wait()
        answers = await asyncio.gather(*asked)
        assert [answer.status for answer in answers] == [200] * 40
        of_alice, of_bob = ({str(answer.body) for answer in part} for part in (answers[:20], answers[20:]))
        assert (len(of_alice), len(of_bob), len(of_alice | of_bob)) == (1, 1, 2)
        readings = [one for one in database.statements if "from user_positions" in one]
        assert len(readings) == 4, "one of each wallet goes on while all others wait for the next"

"""What an answer shows and the position that it says belong together, whatever is written meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import Api
from tests.integration.store.rows import NOON, insert_market, insert_trade, market_id, wallet
from zmartd.http.routes import OPERATIONS
from zmartd.market.lifecycle import MarketState
from zmartd.store import streams
from zmartd.store.postgres.database import Database

READS = 60


class Trading:
    """A market of which every commit makes one trade, adds a share and tells one message."""

    def __init__(self, database: Database, market: str) -> None:
        self._database = database
        self.market = market
        self.commits = 0
        self.due = asyncio.Event()
        self._random = random.Random(1)

    async def commit(self) -> None:
        self.commits += 1
        async with self._database.service() as connection:
            await insert_trade(
                connection, f"trade {self.commits}", self.market, wallet("trader"), block_time=NOON
            )
            await connection.execute(
                "update markets set shares_yes = $2::int, trades_count = $2::int where id = $1",
                self.market,
                self.commits,
            )
            await streams.append(connection, [(f"market:{self.market}", b"{}")])

    async def run(self) -> None:
        """Commit twice whenever `due` is set, at moments of chance."""
        while True:
            await self.due.wait()
            self.due.clear()
            for _ in range(2):
                await asyncio.sleep(self._random.uniform(0.0, 0.01))
                await self.commit()


@pytest.fixture
async def market(database: Database) -> str:
    async with database.service() as connection:
        return await insert_market(connection, "traded", state=MarketState.ACTIVE, shares_yes=0, shares_no=0)


@asynccontextmanager
async def trading(database: Database, market: str) -> AsyncIterator[Trading]:
    trading = Trading(database, market)
    task = asyncio.create_task(trading.run())
    yield trading
    assert not task.done(), task.exception()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def seq_of(position: str) -> int:
    return int(position.partition(":")[2])


async def test_the_detail_and_the_lists_show_a_market_at_the_position_that_they_say(
    api: Api, database: Database, market: str
) -> None:
    path, seen = f"/api/markets/{market}", set()
    async with trading(database, market) as meanwhile:
        for _ in range(READS):
            meanwhile.due.set()
            answer = await api.client.get(path, headers={"Cache-Control": "no-cache"})
            body = await answer.json()
            seq = seq_of(answer.headers["Stream-Position"])
            assert body["stream_position"] == answer.headers["Stream-Position"]
            assert (int(body["shares_yes"]), body["trades_count"]) == (seq, seq)
            listed = await (
                await api.client.get("/api/markets", headers={"Cache-Control": "no-cache"})
            ).json()
            (one,) = listed["markets"]
            assert int(one["shares_yes"]) == seq_of(one["stream_position"])
            seen.add(seq)
    assert len(seen) > 3


async def test_a_list_of_trades_has_those_up_to_its_position_and_no_more(
    api: Api, database: Database, market: str
) -> None:
    seen = set()
    async with trading(database, market) as meanwhile:
        for _ in range(READS):
            meanwhile.due.set()
            answer = await api.client.get(f"/api/markets/{market}/trades", params={"limit": 200})
            trades = (await answer.json())["trades"]
            if len(trades) == 200:
                break
            seen.add(len(trades))
            assert len(trades) == seq_of(answer.headers["Stream-Position"])
    assert len(seen) > 3


async def test_every_answer_that_shows_one_market_says_its_position(
    api: Api, database: Database, market: str
) -> None:
    await Trading(database, market).commit()
    async with database.service() as connection:
        position = await connection.fetchval("select zmartd.stream_position($1)", market)
    holder = Keypair()
    said: dict[str, str | None] = {}
    for operation in OPERATIONS:
        if not operation.shows_market or "{slug}" in operation.path:
            continue
        path = operation.path.format(id=market, wallet=str(holder.pubkey()))
        query = {"market_id": market, "outcome": "true", "target_cost": "1000000000"}
        caller = api.as_wallet(holder)
        answer = await caller.get(path, **(query if path.endswith("/estimate") else {}))
        if answer.status in {404, 409} and answer.body["code"] != "market_not_found":
            continue  # this market has nothing of the kind
        assert answer.status == 200, (path, answer.body)
        said[path] = answer.headers.get("Stream-Position")
    assert len(said) >= 14
    assert {path: one for path, one in said.items() if one != position} == {}


async def test_trending_and_related_markets_have_positions(api: Api, database: Database, market: str) -> None:
    async with database.service() as connection:
        other = await insert_market(connection, "other", state=MarketState.ACTIVE)
    await Trading(database, market).commit()
    trending: list[dict[str, Any]] = (await api.anybody.get("/api/markets/trending")).body["trending"]
    related: list[dict[str, Any]] = (await api.anybody.get(f"/api/markets/{other}/related")).body["related"]
    positions = {one["id"]: seq_of(one["stream_position"]) for one in trending}
    assert positions == {market: 1, other: 0}
    assert [(one["id"], seq_of(one["stream_position"])) for one in related] == [(market, 1)]


async def test_a_market_that_is_not_on_the_chain_has_no_position(api: Api) -> None:
    answer = await api.anybody.get(f"/api/markets/{market_id('nowhere')}")
    assert (answer.status, "Stream-Position" in answer.headers) == (404, False)

"""Answers from memory, on the daemon that changes a market and on another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import Answer, Api, running_api
from tests.integration.http.rest.rest_stage import SOL, Stage
from tests.integration.store.rows import (
    NOON,
    cid,
    insert_market,
    insert_registration,
    market_id,
    wallet,
)
from tests.patience import patient_database
from zmartd.http.response_cache.policies import has_only
from zmartd.market.lifecycle import MarketState
from zmartd.realtime.messages import Gap, MarketUpdate, Message
from zmartd.store.postgres.database import Database

DEADLINE_SECONDS = 120


class Ear:
    """Listens to the bus for an API as the daemon's hub does, and says when it has heard of a market."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._heard: asyncio.Queue[Message | Gap] = asyncio.Queue()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Ear]:
        self._api.bus.add_observer(self._heard.put_nowait)  # after the kept answers, which were told first
        task = asyncio.create_task(self._listen())
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self._heard.get()
        yield self
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def hears_of(self, market: str) -> None:
        """Return when the next state of the market has been heard: a trade has one."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                news = await self._heard.get()
                if isinstance(news, Message) and isinstance(news.data, MarketUpdate):
                    assert news.market_id == market
                    return

    async def _listen(self) -> None:
        async with aclosing(self._api.bus.listen()) as items:
            async for _ in items:
                pass


@pytest.fixture
async def other(stage: Stage, database_url: str, redis_url: str) -> AsyncIterator[Api]:
    """A second daemon's API on the same Postgres, Redis and chain."""
    database = await Database.connect(patient_database(database_url, pool_size=2))
    async with running_api(database, redis_url, stage.rpc_url) as api:
        yield api
    await database.close()


@pytest.fixture
async def market(database: Database) -> str:
    async with database.service() as connection:
        return await insert_market(connection, "m", question="What is hot?")


async def rename(database: Database, question: str) -> None:
    """Change the market without a word to anybody."""
    async with database.service() as connection:
        await connection.execute("update markets set question = $1", question)


async def get(api: Api, path: str, **headers: str) -> Answer:
    response = await api.client.get(
        path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    body = await response.json() if response.status == 200 else await response.read()
    return Answer(response.status, body, {name.lower(): value for name, value in response.headers.items()})


def apart_from_time(detail: dict[str, Any]) -> dict[str, Any]:
    """What `next` tells depends on the second in which it is asked for."""
    return {name: value for name, value in detail.items() if name != "next"}


async def test_whoever_trades_sees_the_trade_in_the_next_answer_on_every_daemon(
    stage: Stage, other: Api
) -> None:
    market = await stage.active_market()
    detail, listed = f"/api/markets/{market}", "/api/markets"
    async with Ear(other).listening() as ear:
        for trade in range(1, 4):
            for api in (stage.api, other):
                for path in (detail, listed):
                    assert (await get(api, path)).status == 200  # so that it is in memory
            landed = await stage.alice.carry_out(
                "/api/trades/buy",
                {"market_id": market, "outcome": True, "target_cost": str(trade * SOL // 10)},
            )
            assert landed.status == 200

            seen = (await get(stage.api, detail)).body
            assert seen["trades_count"] == trade
            assert (await get(stage.api, listed)).body["markets"][0]["trades_count"] == trade
            asked_anew = await get(other, detail, Cache_Control="no-cache")
            assert apart_from_time(asked_anew.body) == apart_from_time(seen)
            await ear.hears_of(market)
            assert apart_from_time((await get(other, detail)).body) == apart_from_time(seen)
            assert (await get(other, listed)).body["markets"][0]["trades_count"] == trade


async def test_a_known_answer_is_not_sent_again(api: Api, market: str) -> None:
    for path in (f"/api/markets/{market}", "/api/markets", "/api/markets?limit=5"):
        first = await get(api, path)
        etag = first.headers["etag"]
        assert first.headers["cache-control"] == "public, no-cache"
        for known in (etag, f'"other", W/{etag}', "*"):
            again = await get(api, path, If_None_Match=known)
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
            assert again.headers["vary"] == first.headers["vary"]
        assert (await get(api, path, If_None_Match='"other"')).status == 200


async def test_kept_answers_have_every_header_that_others_have(api: Api, market: str) -> None:
    plain = await get(api, "/api/markets?offset=1")
    for _ in range(2):
        kept = await get(api, "/api/markets", Origin="https://app.example")
        assert set(plain.headers) - {"content-length"} <= set(kept.headers)
        assert kept.headers["access-control-allow-origin"] == "https://app.example"
    ids = {(await get(api, "/api/markets")).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


async def test_an_unannounced_change_shows_when_it_is_asked_for_anew(
    api: Api, database: Database, market: str
) -> None:
    path = f"/api/markets/{market}"
    await get(api, path)
    await rename(database, "What was hot?")

    assert (await get(api, path, Cache_Control="no-cache")).body["question"] == "What was hot?"
    assert (await get(api, path)).body["question"] == "What was hot?"


async def test_a_market_is_the_same_by_its_id_and_by_its_address(
    api: Api, database: Database, market: str
) -> None:
    by_address = f"/api/markets/{wallet('market m')}"
    first = await get(api, by_address)
    assert first.headers["etag"]
    await rename(database, "What was hot?")
    anew = await get(api, f"/api/markets/{market}", Cache_Control="no-cache")

    assert first.body["question"] == "What is hot?"
    assert (await get(api, by_address)).body == anew.body
    assert (await get(api, f"/api/markets/{market.upper()}")).body == anew.body


async def test_a_market_is_the_same_by_its_name_in_urls(api: Api, database: Database, market: str) -> None:
    by_slug = "/api/markets/by-slug/what-is-hot"
    async with database.service() as connection:
        await connection.execute("update markets set ipfs_question_hash = $1", cid("m"))
        await insert_registration(
            connection, "m", question="What is hot?", appeared_at=NOON, slug="what-is-hot"
        )
    first = await get(api, by_slug)
    await rename(database, "What was hot?")
    anew = await get(api, f"/api/markets/{market}", Cache_Control="no-cache")
    assert (first.body["question"], anew.body["question"]) == ("What is hot?", "What was hot?")

    kept = await get(api, by_slug)
    assert (kept.body, kept.headers["etag"]) == (anew.body, anew.headers["etag"])
    assert (await get(api, by_slug, If_None_Match=anew.headers["etag"])).status == 304
    # A market's id is not its slug, also where both are in memory.
    assert (await get(api, f"/api/markets/by-slug/{market}")).status == 404


async def test_what_is_asked_for_once_is_not_kept(api: Api, database: Database, market: str) -> None:
    sought = "/api/markets?q=hot"
    assert "etag" not in (await get(api, sought)).headers
    await rename(database, "What was hot?")
    assert (await get(api, sought)).body["markets"][0]["question"] == "What was hot?"


async def test_a_long_query_is_kept_nowhere(api: Api, market: str) -> None:
    kept = has_only.cache_info().currsize
    for number in range(3):
        assert (await get(api, f"/api/markets?category={number:0300}")).status in {200, 400}
    assert has_only.cache_info().currsize == kept
    assert (await get(api, "/api/markets?limit=17")).status == 200
    assert has_only.cache_info().currsize == kept + 1


async def test_lists_of_different_states_are_different_answers(
    api: Api, database: Database, market: str
) -> None:
    async with database.service() as connection:
        await insert_market(connection, "new", MarketState.PROPOSED)
    proposed = await get(api, "/api/markets?state=PROPOSED")
    active = await get(api, "/api/markets?state=ACTIVE")
    assert [one["id"] for one in proposed.body["markets"]] == [market_id("new")]
    assert [one["id"] for one in active.body["markets"]] == [market]


async def test_a_market_that_is_not_there_is_looked_for_each_time(api: Api, database: Database) -> None:
    path = f"/api/markets/{market_id('later')}"
    assert (await get(api, path)).status == 404
    async with database.service() as connection:
        await insert_market(connection, "later")
    assert (await get(api, path)).status == 200


async def test_kept_answers_are_nobody_s_in_particular(api: Api, market: str) -> None:
    token = api.as_wallet(Keypair()).token
    for path in (f"/api/markets/{market}", "/api/markets"):
        signed_in = await get(api, path, Authorization=f"Bearer {token}")
        anonymous = await get(api, path)
        assert signed_in.body == anonymous.body
        assert signed_in.headers["etag"] == anonymous.headers["etag"]


async def test_a_market_says_how_far_its_stream_had_come_in_the_same_read(stage: Stage) -> None:
    market_id = await stage.active_market()
    path = f"/api/markets/{market_id}"
    for headers in ({}, {"Cache-Control": "no-cache"}):
        before = await stage.api.client.get(path, headers=headers)
        epoch, seq = before.headers["Stream-Position"].split(":")
        landed = await stage.alice.carry_out(
            "/api/trades/buy", {"market_id": market_id, "outcome": True, "target_cost": SOL}
        )
        assert landed.status == 200
        answer = await stage.api.client.get(path, headers=headers)
        assert answer.headers["Stream-Position"] == f"{epoch}:{int(seq) + 3}"  # a trade, its price, the state
        kept = await stage.api.client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert (kept.status, kept.headers["Stream-Position"]) == (304, answer.headers["Stream-Position"])

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.http.rest.rest_api import Api
from tests.integration.store.rows import insert_market, insert_trade, market_id, wallet
from zmartd.market.lifecycle import MarketState

NOW = datetime.now(UTC)


async def seed(api: Api, *names: str, **columns: Any) -> None:
    async with api.database.service() as connection:
        for name in names:
            await insert_market(connection, name, **columns)


async def names_of(api: Api, known: list[str], **query: Any) -> list[str]:
    answer = await api.anybody.get("/api/markets", **query)
    assert answer.status == 200, answer.body
    by_id = {market_id(name): name for name in known}
    return [by_id[market["id"]] for market in answer.body["markets"]]


async def test_words_are_found_in_question_tags_and_description_the_best_match_first(api: Api) -> None:
    known = ["described", "tagged", "asked", "else"]
    async with api.database.service() as connection:
        await insert_market(connection, "described", question="Who wins?", description="About bitcoins.")
        await insert_market(connection, "tagged", question="Who loses?", tags=["bitcoin", "money"])
        await insert_market(connection, "asked", question="Will bitcoin fall?")
        await insert_market(connection, "else", question="Will it rain?")

    assert await names_of(api, known, q="Bitcoin") == ["asked", "tagged", "described"]
    assert await names_of(api, known, q="bitcoin", order="asc") == ["described", "tagged", "asked"]
    assert await names_of(api, known, q="bitcoin -wins", sort="relevance") == ["asked", "tagged"]
    assert await names_of(api, known, tag="money") == ["tagged"]


async def test_words_are_found_while_they_are_typed(api: Api) -> None:
    known = ["rain", "snow", "else"]
    async with api.database.service() as connection:
        await insert_market(connection, "rain", question="Will it rain in Zürich?")
        await insert_market(connection, "snow", question="Will it snow in Zürich?")
        await insert_market(connection, "else", question="Who wins?", description="Will see.")

    for typed in ("r", "rai", "Zürich rai", "will it rai", '"rain in züri', "Zürich -snow", "Zürich -(sno"):
        assert await names_of(api, known, q=typed) == ["rain"], typed
    for typed in ("will", "Will it"):
        assert set(await names_of(api, known, q=typed)) >= {"rain", "snow"}, typed
    assert await names_of(api, known, q="will it in") == []
    assert await names_of(api, known, q='Zürich -"snow in"') == ["rain"]


@pytest.mark.parametrize("words", ["'; drop table markets; --", '"((!&|', "\\", "%", "a:*b<->", "🎲" * 100])
async def test_any_words_can_be_searched_for(api: Api, words: str) -> None:
    answer = await api.anybody.get("/api/markets", q=words)
    assert (answer.status, answer.body["markets"]) == (200, [])


async def test_the_list_can_be_sorted_in_each_way_and_back(api: Api) -> None:
    known = ["a", "b", "c"]
    async with api.database.service() as connection:
        for name, age, volume, days_left in [("a", 3, 30, 9), ("b", 2, 10, 1), ("c", 1, 20, 5)]:
            await insert_market(
                connection,
                name,
                created_at=NOW - timedelta(days=age),
                total_volume=volume,
                end_date=NOW + timedelta(days=days_left),
            )
        await insert_trade(connection, "1", market_id("b"), wallet("x"), block_time=NOW, cost=5 * 10**9)
        for number in range(9):
            trader = wallet(f"trader {number}")
            await insert_trade(connection, f"t{number}", market_id("a"), trader, block_time=NOW, cost=1)
        long_ago = NOW - timedelta(hours=25)
        await insert_trade(connection, "old", market_id("c"), wallet("x"), block_time=long_ago, cost=10**12)

    assert await names_of(api, known) == ["c", "b", "a"]
    assert await names_of(api, known, sort="volume") == ["a", "c", "b"]
    assert await names_of(api, known, sort="ending_soon") == ["b", "c", "a"]
    assert await names_of(api, known, sort="trending") == ["a", "b", "c"]
    for sort, order in (("newest", "asc"), ("volume", "asc"), ("ending_soon", "desc"), ("trending", "asc")):
        whole = await names_of(api, known, sort=sort)
        assert await names_of(api, known, sort=sort, order=order) == whole[::-1]


async def test_ended_markets_are_not_in_the_list_of_those_that_end_soon(api: Api) -> None:
    await seed(api, "ended", end_date=NOW - timedelta(minutes=1))
    await seed(api, "endless", end_date=None)
    await seed(api, "ending", end_date=NOW + timedelta(hours=1))
    answer = await api.anybody.get("/api/markets", sort="ending_soon")
    assert ([market["id"] for market in answer.body["markets"]], answer.body["total"]) == (
        [market_id("ending")],
        1,
    )


@pytest.mark.parametrize("sort", ["newest", "volume", "ending_soon", "trending", "relevance"])
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_that_follow_each_other_make_the_whole_list(api: Api, sort: str, order: str) -> None:
    async with api.database.service() as connection:
        for number in range(13):
            await insert_market(
                connection,
                f"m{number}",
                question="rain " * (number % 4 + 1),
                total_volume=(number % 3) * 10**19,
                created_at=NOW + timedelta(microseconds=number % 5),
                end_date=NOW + timedelta(days=1, microseconds=number % 2),
            )
        for number in range(6):
            trader = wallet(str(number % 2))
            market = market_id(f"m{number % 4}")
            await insert_trade(connection, f"t{number}", market, trader, block_time=NOW, cost=number)
    query = {"q": "rain", "sort": sort, "order": order}
    whole = (await api.anybody.get("/api/markets", limit=100, **query)).body
    assert (whole["total"], whole["next_cursor"], len(whole["markets"])) == (13, None, 13)

    pages: list[dict[str, Any]] = []
    cursor: dict[str, str] | None = {}
    while cursor is not None:
        answer = await api.anybody.get("/api/markets", limit=4, **query, **cursor)
        pages += answer.body["markets"]
        following = answer.body["next_cursor"]
        cursor = None if following is None else {"cursor": following}
    assert pages == whole["markets"]
    assert (await api.anybody.get("/api/markets", limit=4, page=2, **query)).body["markets"] == pages[4:8]


async def test_several_states_can_be_asked_for_at_once(api: Api) -> None:
    known = [state.name for state in MarketState]
    for state in MarketState:
        await seed(api, state.name, state=state)
    for asked in ("2,disputed", "ACTIVE, 4"):
        assert sorted(await names_of(api, known, state=asked)) == ["ACTIVE", "DISPUTED"]


async def test_a_market_whose_creation_was_rolled_back_is_in_no_list(api: Api) -> None:
    await seed(api, "m", orphaned=True, question="Will it rain?")
    for query in ({}, {"q": "rain"}, {"sort": "trending"}):
        assert (await api.anybody.get("/api/markets", **query)).body["total"] == 0


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"q": ""}, "q"),
        ({"q": "x" * 201}, "q"),
        ({"q": "a\x00b"}, "q"),
        ({"sort": "random"}, "sort"),
        ({"sort": "relevance"}, "sort"),
        ({"order": "sideways"}, "order"),
        ({"state": "2,,3"}, "state"),
        ({"state": "2,9"}, "state"),
        ({"page": "0"}, "page"),
        ({"tag": "x" * 31}, "tag"),
        ({"cursor": "!"}, "cursor"),
        ({"cursor": "abcde"}, "cursor"),
        ({"cursor": base64.urlsafe_b64encode(b'{"key":1}').decode().rstrip("=")}, "cursor"),
    ],
)
async def test_bad_queries_of_the_list_are_refused_by_name(
    api: Api, query: dict[str, str], field: str
) -> None:
    answer = await api.anybody.get("/api/markets", **query)
    assert (answer.status, [one["field"] for one in answer.body["details"]]) == (400, [field])


@pytest.mark.parametrize(
    "place",
    [
        '{"order":{"sort":"newest","direction":"desc"},"key":-1,"market_id":"%s"}',
        '{"order":{"sort":"newest","direction":"desc"},"key":999999999999999999,"market_id":"%s"}',
        '{"order":{"sort":"newest","direction":"desc"},"key":1,"market_id":"\\u0000"}',
        '{"order":{"sort":"newest","direction":"asc"},"key":1,"market_id":"%s"}',
        '{"order":{"sort":"volume","direction":"desc"},"key":1,"market_id":"%s"}',
        "[]",
        "\udcff",
    ],
)
async def test_a_forged_cursor_is_refused(api: Api, place: str) -> None:
    text = place.replace("%s", "ab" * 32).encode(errors="surrogateescape")
    cursor = base64.urlsafe_b64encode(text).decode().rstrip("=")
    answer = await api.anybody.get("/api/markets", cursor=cursor)
    assert (answer.status, answer.body["details"][0]["field"]) == (400, "cursor")


async def test_a_cursor_goes_with_no_offset_and_no_page(api: Api) -> None:
    await seed(api, "a", "b")
    cursor = (await api.anybody.get("/api/markets", limit=1)).body["next_cursor"]
    for other in ({"offset": 1}, {"page": 1}):
        answer = await api.anybody.get("/api/markets", limit=1, cursor=cursor, **other)
        assert (answer.status, answer.body["details"][0]["field"]) == (400, "cursor")


async def test_new_markets_between_two_pages_neither_hide_nor_repeat_others(api: Api) -> None:
    def born(age: int) -> dict[str, Any]:
        return {"created_at": NOW - timedelta(minutes=age)}

    for age in range(20):
        await seed(api, f"old {age}", **born(age * 10))
    walked: list[str] = []
    cursor: dict[str, str] | None = {}
    pages = 0
    while cursor is not None:
        answer = await api.anybody.get("/api/markets", limit=3, **cursor)
        walked += [market["id"] for market in answer.body["markets"]]
        pages += 1
        await seed(api, f"newer {pages}", **born(-pages))
        await seed(api, f"found late {pages}", **born(45))
        following = answer.body["next_cursor"]
        cursor = None if following is None else {"cursor": following}

    assert len(walked) == len(set(walked))
    assert {market_id(f"old {age}") for age in range(20)} <= set(walked)
    assert market_id("newer 1") not in walked
    assert market_id("found late 1") in walked

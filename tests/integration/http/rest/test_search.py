"""Search in all languages, with pg_trgm and in a database that may not have it."""

# ruff: noqa: RUF001 -- letters of other scripts are what is searched for

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.integration.http.rest.rest_api import Api, running_api
from tests.integration.store.rows import insert_market, market_id
from tests.patience import patient_database
from tests.statements import execute
from zmartd.store import schema
from zmartd.store.postgres.database import Database

NO_EXTENSIONS = """
create function refuse() returns event_trigger language plpgsql as $$
begin
    raise 'extension "pg_trgm" is not on the provider''s list';
end
$$;
create event trigger no_extensions on ddl_command_start when tag in ('CREATE EXTENSION')
    execute function refuse()
"""
QUESTIONS = {
    "chinese": "谁将赢得2028年美国总统选举？",
    "japanese": "日本はワールドカップで優勝しますか",
    "half width": "ﾜｰﾙﾄﾞｶｯﾌﾟ ２０３０ は どこ?",
    "korean": "대통령이 2027년에 바뀔까요?",
    "thai": "ประเทศไทยจะชนะไหม",
    "years": "Who governs in the term 2032-2036?",
    "path": "Will BTC pass $150,000 by nov/2029?",
    "singer": "Will Beyoncé release an album?",
    "country": "Wird Österreich Weltmeister?",
    "street": "Is the Straße in Ærø straight?",
    "persian": "آیا ایران در سال ۱۴۰۷ می‌برد؟",
    "russian": "Получит ли актёр премию?",
    "president": "Will Zelenskyy meet Macron?",
    "capitals": "NIKKEI UP IN JULY?",
}
FOUND = {
    "选举": ["chinese"],
    "美国": ["chinese"],
    "2028": ["chinese"],
    "举": ["chinese"],
    "总统选举": ["chinese"],
    "ワールドカップ": ["half width", "japanese"],
    "ﾜｰﾙﾄﾞ": ["half width", "japanese"],
    "優勝": ["japanese"],
    "2030": ["half width"],
    "ワールドカップ 2030": ["half width"],
    "대통령": ["korean"],
    "2027": ["korean"],
    "ไทย": ["thai"],
    "2032": ["years"],
    "2036": ["years"],
    "2032-2036": ["years"],
    "2029": ["path"],
    "150000": ["path"],
    "150,000": ["path"],
    "Beyonce\u0301": ["singer"],
    "beyonce": ["singer"],
    "BEYONCÉ": ["singer"],
    "ｂｅｙｏｎｃｅ": ["singer"],
    "Osterreich": ["country"],
    "österreich": ["country"],
    "strasse aero": ["street"],
    "ايران": ["persian"],
    "1407": ["persian"],
    "актер": ["russian"],
    "АКТЁР": ["russian"],
    "nikkei": ["capitals"],
    "WIRD WELTMEISTER": ["country"],
    "选举 -美国": [],
    '"美国选举"': [],
    "日本 -優勝": [],
}
MISTYPED = {
    "Zelenskiy": ["president"],
    "Zelensky Macorn": [],
    "Macrun": ["president"],
    "Beyonse album": ["singer"],
    "Osterrich": ["country"],
    "albun beyonce": ["singer"],
    '"Macrun"': [],
    "Macrun -meet": [],
    "Macrun 2028": [],
    "Macrun rain": [],
}


@asynccontextmanager
async def serving(url: str, redis_url: str) -> AsyncIterator[Api]:
    database = await Database.connect(patient_database(url, pool_size=2))
    async with running_api(database, redis_url) as api:
        yield api
    await database.close()


@pytest.fixture
async def limited_url(empty_database_url: str) -> str:
    """The URL of a database in which nobody may create an extension."""
    await execute(empty_database_url, NO_EXTENSIONS)
    await schema.bring_up_to_date(empty_database_url)
    return empty_database_url


async def seed(api: Api) -> None:
    async with api.database.service() as connection:
        for name, question in QUESTIONS.items():
            await insert_market(connection, name, question=question)


async def found(api: Api, words: str, **query: Any) -> list[str]:
    answer = await api.anybody.get("/api/markets", q=words, **query)
    assert answer.status == 200, answer.body
    by_id = {market_id(name): name for name in QUESTIONS}
    assert answer.body["total"] >= len(answer.body["markets"])
    return [by_id[market["id"]] for market in answer.body["markets"]]


async def test_words_are_found_in_every_language(api: Api) -> None:
    await seed(api)
    assert {words: sorted(await found(api, words)) for words in FOUND} == FOUND


async def test_they_are_found_without_extensions_as_well(limited_url: str, redis_url: str) -> None:
    async with serving(limited_url, redis_url) as api:
        await seed(api)
        assert {words: sorted(await found(api, words)) for words in FOUND} == FOUND
        assert await found(api, "Macrun") == []
        assert sorted(await found(api, "will")) == ["path", "president", "singer"]


async def test_names_with_a_letter_wrong_are_found(api: Api) -> None:
    await seed(api)
    assert {words: await found(api, words) for words in MISTYPED} == MISTYPED


async def test_exact_matches_come_before_near_ones_on_all_pages(api: Api) -> None:
    async with api.database.service() as connection:
        for number in range(4):
            await insert_market(connection, f"near {number}", question=f"Will Macron win {number} times?")
        await insert_market(connection, "exact", question="Will Macrun win?")
        await insert_market(connection, "orphan", question="Will Macron win?", orphaned=True)
    query = {"q": "macrun", "limit": 2}
    pages: list[str] = []
    cursor: dict[str, str] | None = {}
    while cursor is not None:
        answer = (await api.anybody.get("/api/markets", **query, **cursor)).body
        assert answer["total"] == 5
        pages += [market["id"] for market in answer["markets"]]
        cursor = {"cursor": answer["next_cursor"]} if answer["next_cursor"] else None
    assert pages[0] == market_id("exact")
    assert sorted(pages[1:]) == sorted(market_id(f"near {number}") for number in range(4))
    newest = (await api.anybody.get("/api/markets", q="macrun", sort="newest")).body["markets"]
    assert [market["id"] for market in newest] == [market_id("exact")]


async def test_near_matches_are_held_to_the_filters(api: Api) -> None:
    await seed(api)
    assert await found(api, "Macrun", state="ACTIVE") == ["president"]
    assert await found(api, "Macrun", state="CANCELLED") == []


@pytest.mark.parametrize(
    "words", ["%", "_", "100%_\\", "\\", "a%' or true --", "((", "&|!", '"', ":*", "<->"]
)
async def test_no_character_is_a_wildcard(api: Api, words: str) -> None:
    await seed(api)
    assert await found(api, words) == []


async def test_indexes_answer_both_kinds_of_search(api: Api) -> None:
    await seed(api)
    async with api.database.service() as connection:
        await connection.execute("set local enable_seqscan = off")
        place = await connection.fetchval(
            "select extnamespace::regnamespace::text from pg_extension where extname = 'pg_trgm'"
        )
        for condition, index in [
            ("search @@ zmartd.sought('选举')", "markets_by_text"),
            (f"'macrun' operator({place}.<%) search_text", "markets_by_trigrams"),
        ]:
            plan = await connection.fetch(f"explain select id from markets where {condition}")
            assert index in str(plan)


async def test_an_administrator_can_give_the_database_what_it_lacks(limited_url: str, redis_url: str) -> None:
    assert not await schema.finds_small_mistakes(limited_url)
    await execute(limited_url, "drop event trigger no_extensions", "create extension pg_trgm")
    await schema.bring_up_to_date(limited_url)
    assert await schema.finds_small_mistakes(limited_url)
    async with serving(limited_url, redis_url) as api:
        await seed(api)
        assert await found(api, "Macrun") == ["president"]


async def test_an_extension_where_callers_may_not_go_is_left_alone(
    empty_database_url: str, redis_url: str
) -> None:
    await execute(empty_database_url, "create schema private", "create extension pg_trgm schema private")
    await schema.bring_up_to_date(empty_database_url)
    assert not await schema.finds_small_mistakes(empty_database_url)
    async with serving(empty_database_url, redis_url) as api:
        await seed(api)
        assert await found(api, "Macrun") == []
        assert await found(api, "选举") == ["chinese"]

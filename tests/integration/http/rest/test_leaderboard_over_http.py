from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import Api, Caller
from tests.integration.indexer.story import GENESIS_TIME, Story
from zmartd.http.kit.pagination import encode_cursor
from zmartd.market.ids import masked
from zmartd.store import leaderboard
from zmartd.store.leaderboard import LeaderboardPageKey

SOMEBODY = Keypair.from_seed(bytes([9] * 32))
NOW = datetime.fromtimestamp(GENESIS_TIME + 2_000, UTC)


async def published(api: Api, *seeds: int) -> None:
    for seed in seeds:
        story = Story(seed)
        story.create()
        story.open_for_trading()
        story.trade(15)
        await api.indexer.apply(story.transactions)
    async with api.database.service() as connection:
        await leaderboard.publish(connection, NOW, timedelta(minutes=5))


async def pages(caller: Caller, **query: Any) -> list[dict[str, Any]]:
    """Every entry of a list, read page by page."""
    entries: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await caller.get("/api/leaderboard", **query, **cursor)
        assert page.status == 200, page.body
        assert page.body["count"] == len(page.body["entries"])
        entries += page.body["entries"]
        if page.body["next_cursor"] is None:
            return entries
        cursor = {"cursor": page.body["next_cursor"]}


async def test_before_the_first_edition_the_list_is_empty(api: Api) -> None:
    answer = await api.anybody.get("/api/leaderboard")
    assert (answer.status, answer.body) == (
        200,
        {
            "period": "all",
            "by": "profit",
            "entries": [],
            "count": 0,
            "total": 0,
            "as_of": None,
            "next_cursor": None,
        },
    )


@pytest.mark.parametrize("by", ["profit", "volume", "trades"])
async def test_the_pages_of_a_list_have_each_wallet_once_in_order(api: Api, by: str) -> None:
    await published(api, 1, 2)
    caller = api.as_wallet(SOMEBODY)

    whole = await pages(caller, by=by, limit=100)
    by_three = await pages(caller, by=by, limit=3)

    assert by_three == whole
    assert len(whole) == len({entry["wallet"] for entry in whole}) == 8
    assert [entry["rank"] for entry in whole] == list(range(1, 9))
    values = [int(entry["trades_count" if by == "trades" else by]) for entry in whole]
    assert values == sorted(values, reverse=True)
    assert sum(entry["trades_count"] for entry in whole) == 30


async def test_further_pages_are_of_the_edition_of_the_first_page(api: Api) -> None:
    await published(api, 1)
    before = await pages(api.anybody, by="volume", period="24h")
    first = await api.anybody.get("/api/leaderboard", by="volume", period="24h", limit=1)
    await published(api, 2)
    rest = await api.anybody.get(
        "/api/leaderboard", by="volume", period="24h", cursor=first.body["next_cursor"]
    )

    assert first.body["entries"] + rest.body["entries"] == before
    assert len(await pages(api.anybody, by="volume")) == 8


async def test_anonymous_callers_see_wallets_shortened(api: Api) -> None:
    await published(api, 1)
    whole = await pages(api.as_wallet(SOMEBODY), by="volume")

    shown = await pages(api.anybody, by="volume")

    assert [entry["wallet"] for entry in shown] == [masked(entry["wallet"]) for entry in whole]


async def test_a_period_ends_at_the_chain_s_time(api: Api) -> None:
    await published(api, 1)
    answer = await api.anybody.get("/api/leaderboard", period="24h")
    assert answer.body["as_of"] == NOW.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("period", "1y"),
        ("by", "losses"),
        ("limit", "101"),
        ("limit", "-1"),
        ("cursor", "1"),
        ("cursor", "1-2; drop table leaderboard"),
        ("cursor", "a" * 601),
        ("cursor", encode_cursor(LeaderboardPageKey(1, "24h", "profit", 1))),
        ("cursor", encode_cursor(LeaderboardPageKey(1, "all", "volume", 1))),
        ("cursor", encode_cursor(LeaderboardPageKey(2**63, "all", "profit", 1))),
        ("cursor", encode_cursor(LeaderboardPageKey(1, "all", "profit", 0))),
    ],
)
async def test_bad_queries_of_the_leaderboard_are_refused_by_name(api: Api, field: str, value: str) -> None:
    answer = await api.anybody.get("/api/leaderboard", **{field: value})
    assert (answer.status, answer.body["code"]) == (400, "invalid_request")
    assert [problem["field"] for problem in answer.body["details"]] == [field]


async def test_a_limit_of_0_gives_an_empty_page(api: Api) -> None:
    await published(api, 1)
    answer = await api.anybody.get("/api/leaderboard", limit=0)
    assert (answer.body["entries"], answer.body["next_cursor"]) == ([], None)

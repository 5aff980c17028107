"""Lists that are bare arrays, as the site reads them, and yet go on from page to page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from aiohttp import hdrs
from solders.keypair import Keypair
from yarl import URL

from tests.integration.http.rest.rest_api import Api, Caller
from tests.integration.store.rows import (
    NOON,
    insert,
    insert_market,
    insert_position,
    insert_trade,
    market_id,
)

ALICE, BOB = Keypair.from_seed(bytes([31] * 32)), Keypair.from_seed(bytes([32] * 32))
WALLET = str(ALICE.pubkey())
POSITIONS, ROWS = f"/api/users/{WALLET}/positions", f"/api/positions/{WALLET}"
THREADS = f"/api/markets/{market_id('0')}/discussions"


@pytest.fixture
async def held(api: Api) -> Api:
    """ALICE holds seven positions, traded one after the other, and wrote as many comments on the first."""
    async with api.database.service() as connection:
        for number in range(7):
            market = await insert_market(connection, str(number))
            at = NOON + timedelta(minutes=number)
            await insert_position(connection, market, WALLET, last_trade_at=at)
            await insert_trade(connection, str(number), market, WALLET, block_time=at)
            await insert(
                connection, "discussions", market_id=market_id("0"), user_wallet=WALLET,
                content=f"I hold {number}", created_at=at,
            )  # fmt: skip
    return api


async def pages(caller: Caller, path: str, limit: int) -> list[list[dict[str, Any]]]:
    """Everything that following the links leads to."""
    found: list[list[dict[str, Any]]] = []
    link: str | None = f"{path}?limit={limit}"
    while link is not None:
        response = await caller.client.get(link, headers=caller.headers)
        assert response.status == 200
        found.append(await response.json())
        following = response.links.get("next")
        assert ("X-Next-Cursor" in response.headers) == (following is not None)
        link = None if following is None else URL(following["url"]).path_qs
    return found


@pytest.mark.parametrize("path", [POSITIONS, ROWS, THREADS])
async def test_following_the_links_leads_through_the_whole_array(held: Api, path: str) -> None:
    alice = held.as_wallet(ALICE)
    whole = await alice.get(path)
    assert len(whole.body) == 7
    assert {hdrs.LINK, "X-Next-Cursor"}.isdisjoint(whole.headers)

    walked = await pages(alice, path, 3)
    assert [len(page) for page in walked] == [3, 3, 1]
    assert [one for page in walked for one in page] == whole.body
    assert await pages(alice, path, 7) == [whole.body]
    assert await pages(alice, path, 0) == [[]]


@pytest.mark.parametrize("path", [POSITIONS, ROWS, THREADS])
async def test_the_cursor_of_the_headers_begins_the_next_page(held: Api, path: str) -> None:
    alice = held.as_wallet(ALICE)
    whole = (await alice.get(path)).body
    first = await alice.get(path, limit=2)
    second = await alice.get(path, limit=3, cursor=first.headers["X-Next-Cursor"])
    assert (first.body, second.body) == (whole[:2], whole[2:5])


@pytest.mark.parametrize("path", [POSITIONS, ROWS, THREADS])
async def test_an_array_is_never_cut_silently(held: Api, path: str) -> None:
    for name, value in (("limit", 101), ("limit", -1), ("limit", "all"), ("cursor", "e30"), ("cursor", "?")):
        refused = await held.as_wallet(ALICE).get(path, **{name: value})
        assert (refused.status, [one["field"] for one in refused.body["details"]]) == (400, [name])


@pytest.mark.parametrize("path", [POSITIONS, ROWS])
async def test_without_a_limit_all_positions_are_on_one_page(held: Api, path: str) -> None:
    async with held.database.service() as connection:
        for number in range(7, 130):
            await insert_position(connection, await insert_market(connection, str(number)), WALLET)
    answer = await held.as_wallet(ALICE).get(path)
    assert len({row["market_id"] for row in answer.body}) == 130
    assert "link" not in answer.headers


async def test_an_offset_is_not_carried_into_the_link(held: Api) -> None:
    answer = await held.anybody.get(THREADS, limit=1, offset=2)
    cursor = answer.headers["X-Next-Cursor"]
    assert answer.headers[hdrs.LINK] == f'<?limit=1&cursor={cursor}>; rel="next"'
    both = await held.anybody.get(THREADS, offset=2, cursor=cursor)
    assert (both.status, both.body["details"][0]["field"]) == (400, "cursor")


@pytest.mark.parametrize("path", [POSITIONS, ROWS, f"/api/users/{WALLET}/portfolio"])
async def test_a_position_that_is_traded_between_two_pages_keeps_its_place(held: Api, path: str) -> None:
    alice = held.as_wallet(ALICE)
    found: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        answer = await alice.get(path, **query)
        in_body = isinstance(answer.body, dict)
        rows = answer.body["positions"] if in_body else answer.body
        found += [row["market_id"] for row in rows]
        cursor = answer.body["next_cursor"] if in_body else answer.headers.get("X-Next-Cursor")
        if cursor is None:
            break
        query["cursor"] = cursor
        async with held.database.service() as connection:
            for number in (0, 6):
                name = f"{number} after {len(found)}"
                at = NOON + timedelta(hours=len(found))
                await insert_trade(connection, name, market_id(str(number)), WALLET, block_time=at)
    assert found == [market_id(str(number)) for number in (6, 5, 4, 3, 2, 1, 0)]


async def test_browsers_may_read_where_the_next_page_is(held: Api) -> None:
    response = await held.client.get(THREADS, headers={"Origin": "https://app.example"})
    exposed = response.headers["Access-Control-Expose-Headers"].split(",")
    assert {"Link", "X-Next-Cursor"} <= {name.strip() for name in exposed}


_MANY_REPLIES = """
insert into discussions (market_id, user_wallet, parent_id, content, created_at)
select $1, $2, parent, $4 || number, $5::timestamptz + number * interval '1 second'
  from unnest($3::uuid[]) as parent, generate_series(1, 300) as number
"""


async def test_the_replies_cursor_leads_to_the_replies_that_are_left_out(held: Api) -> None:
    market, later = market_id("0"), NOON + timedelta(days=1)
    async with held.database.service() as connection:
        roots = await connection.fetch("select id from discussions order by created_at limit 2")
        first, second = (row["id"] for row in roots)
        await connection.execute(_MANY_REPLIES, market, WALLET, [first, second], "reply ", later)
        deep = await connection.fetchval("select id from discussions where content = 'reply 10' limit 1")
        await connection.execute(_MANY_REPLIES, market, WALLET, [deep], "deep ", later + timedelta(days=1))

    threads = {thread["id"]: thread for thread in (await held.anybody.get(THREADS)).body}
    nested = [reply for root in (first, second) for reply in threads[str(root)]["replies"]]
    assert len(nested) == 500
    assert [thread["repliesCursor"] for thread in threads.values() if not thread["repliesCount"]] == [
        None
    ] * 5
    (parent,) = [reply for reply in nested if reply["id"] == str(deep)]
    for comment, replies in ((threads[str(first)], 300), (threads[str(second)], 300), (parent, 300)):
        found = [reply["id"] for reply in comment["replies"]]
        query = {"parent_id": comment["id"], "cursor": comment["repliesCursor"], "limit": 100}
        while query["cursor"] is not None:
            page = (await held.anybody.get(f"/api/discussions/{market}", **query)).body
            found += [reply["id"] for reply in page["discussions"]]
            query["cursor"] = page["next_cursor"]
        assert len(found) == len(set(found)) == replies

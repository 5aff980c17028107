from __future__ import annotations

import base64
from typing import Any

import pytest
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import Api, Caller
from tests.integration.store.rows import insert_market, insert_trade, market_id, wallet
from zmartd.market.ids import masked

ALICE, BOB = Keypair.from_seed(bytes([31] * 32)), Keypair.from_seed(bytes([32] * 32))
ALL = "/api/trades"
OWN = "/api/trades/history"


@pytest.fixture
async def traded(api: Api) -> Api:
    """Two markets, in which ALICE bought four times and BOB sold three times: slots 0 to 6."""
    async with api.database.service() as connection:
        for name in ("first", "second"):
            await insert_market(connection, name)
        for slot in range(7):
            trader = str((BOB if slot % 2 else ALICE).pubkey())
            await insert_trade(
                connection,
                f"trade {slot}",
                market_id("first" if slot < 4 else "second"),
                trader,
                slot=slot,
                trade_type="sell" if slot % 2 else "buy",
                outcome=slot > 1,
            )
    return api


async def slots(caller: Caller, path: str, **query: Any) -> list[int]:
    answer = await caller.get(path, **query)
    assert answer.status == 200, answer.body
    return [trade["slot"] for trade in answer.body["trades"]]


async def walk(caller: Caller, path: str, **query: Any) -> list[list[int]]:
    """The slots on each page."""
    pages: list[list[int]] = []
    while True:
        answer = await caller.get(path, **query)
        assert answer.status == 200, answer.body
        pages.append([trade["slot"] for trade in answer.body["trades"]])
        if answer.body["next_cursor"] is None:
            return pages
        query["cursor"] = answer.body["next_cursor"]


async def test_every_trade_of_every_market_comes_newest_first(traded: Api) -> None:
    answer = await traded.anybody.get(ALL)

    assert [trade["slot"] for trade in answer.body["trades"]] == [6, 5, 4, 3, 2, 1, 0]
    assert {name: answer.body[name] for name in ("count", "offset", "limit", "next_cursor")} == {
        "count": 7,
        "offset": 0,
        "limit": 50,
        "next_cursor": None,
    }
    assert {trade["user_wallet"] for trade in answer.body["trades"]} == {
        masked(str(ALICE.pubkey())),
        masked(str(BOB.pubkey())),
    }
    assert answer.body["trades"][0]["commitment"] == "confirmed"


async def test_trades_are_filtered_by_market_outcome_type_and_wallet(traded: Api) -> None:
    anybody, bob = traded.anybody, traded.as_wallet(BOB)
    assert await slots(anybody, ALL, market_id=market_id("first")) == [3, 2, 1, 0]
    assert await slots(anybody, ALL, marketId=wallet("market second")) == [6, 5, 4]
    assert await slots(anybody, ALL, outcome="false") == [1, 0]
    assert await slots(anybody, ALL, type="sell", outcome="true") == [5, 3]
    assert await slots(bob, ALL, wallet=str(ALICE.pubkey()), market_id=market_id("first")) == [2, 0]


async def test_one_s_own_history_is_that_of_the_wallet_that_signed_in(traded: Api) -> None:
    answer = await traded.as_wallet(ALICE).get(OWN)

    assert [trade["slot"] for trade in answer.body["trades"]] == [6, 4, 2, 0]
    assert {trade["user_wallet"] for trade in answer.body["trades"]} == {str(ALICE.pubkey())}
    assert await slots(traded.as_wallet(BOB), OWN, type="buy") == []
    assert (await traded.as_wallet(ALICE).get(OWN, wallet=str(BOB.pubkey()))).status == 400


async def test_only_signed_in_callers_can_filter_by_wallet(traded: Api) -> None:
    for path, query in ((OWN, {}), (ALL, {"wallet": str(ALICE.pubkey())})):
        answer = await traded.anybody.get(path, **query)
        assert (answer.status, answer.body["code"]) == (401, "auth_missing")
        assert "Sign in first" in answer.body["message"]
        assert "POST /api/auth/login" in answer.body["message"]
        assert ("wallet" in answer.body["message"]) is ("wallet" in query)


@pytest.mark.parametrize(
    ("path", "pages"),
    [
        (ALL, [[6, 5, 4], [3, 2, 1], [0]]),
        (OWN, [[6, 4, 2], [0]]),
        (f"/api/users/{ALICE.pubkey()}/trades", [[6, 4, 2], [0]]),
        (f"/api/markets/{market_id('first')}/trades", [[3, 2, 1], [0]]),
    ],
)
async def test_a_cursor_leads_from_page_to_page_to_the_end(
    traded: Api, path: str, pages: list[list[int]]
) -> None:
    assert await walk(traded.as_wallet(ALICE), path, limit=3) == pages


async def test_offsets_are_still_served(traded: Api) -> None:
    assert await slots(traded.anybody, ALL, limit=2, offset=3) == [3, 2]


async def test_a_limit_of_0_gives_an_empty_page(traded: Api) -> None:
    assert await walk(traded.anybody, ALL, limit=0) == [[]]


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "not base64!",
        "AAAA",
        "x" * 601,
        encoded("{}"),
        encoded('{"type":"trades/2","slot":1,"id":1}'),
        encoded('{"type":"trades/1","slot":"1","id":1}'),
        encoded('{"type":"trades/1","slot":-1,"id":1}'),
        encoded('{"type":"trades/1","slot":9223372036854775808,"id":1}'),
        encoded('{"type":"trades/1","slot":1' + "0" * 300 + ',"id":1}'),
    ],
)
async def test_a_cursor_of_another_list_is_refused(traded: Api, cursor: str) -> None:
    answer = await traded.anybody.get(ALL, cursor=cursor)

    assert (answer.status, answer.body["code"]) == (400, "invalid_request")
    assert [problem["field"] for problem in answer.body["details"]] == ["cursor"]


async def test_a_place_made_up_by_somebody_is_a_place_like_any_other(traded: Api) -> None:
    cursor = encoded('{"type":"trades/1","slot":3,"id":0}')
    assert await slots(traded.anybody, ALL, cursor=cursor) == [2, 1, 0]


async def test_a_cursor_and_an_offset_exclude_each_other(traded: Api) -> None:
    first = await traded.anybody.get(ALL, limit=2)
    for offset in (0, 2):
        answer = await traded.anybody.get(ALL, cursor=first.body["next_cursor"], offset=offset)
        assert answer.body["details"] == [
            {"field": "cursor", "message": "must be the only one of cursor and offset"}
        ]


async def test_every_failing_field_of_a_query_is_named(traded: Api) -> None:
    answer = await traded.as_wallet(ALICE).get(
        ALL, limit=201, offset=-1, outcome="maybe", type="gift", wallet="me", market_id="m"
    )
    assert answer.status == 400
    assert {problem["field"] for problem in answer.body["details"]} == {
        "limit",
        "offset",
        "outcome",
        "type",
        "wallet",
        "market_id",
    }


async def test_trades_of_an_unknown_market_are_not_found(traded: Api) -> None:
    answer = await traded.anybody.get(ALL, market_id=market_id("third"))
    assert (answer.status, answer.body["code"]) == (404, "market_not_found")

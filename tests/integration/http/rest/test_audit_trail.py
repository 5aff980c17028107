from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.integration.http.rest.rest_api import Api
from tests.integration.store.rows import insert, insert_market, market_id, signature

PATH = f"/api/markets/{market_id('m')}/events"


async def happen(api: Api, name: str, slot: int, **columns: Any) -> None:
    """One event of the market, alone in its transaction. Its `approved_by` is its name in these tests."""
    payload = {"market_id": market_id("m"), "approved_by": name, "timestamp": 1}
    async with api.database.service() as connection:
        await insert(
            connection,
            "market_events",
            **{"event_type": "ProposalApproved", "tx_signature": signature(name), "event_index": 0}
            | {"slot": slot, "market_id": market_id("m"), "payload": json.dumps(payload)}
            | columns,
        )


@pytest.fixture
async def eventful(api: Api) -> Api:
    """A market with events in slots 1 to 5, of which slot 3 has five: two of one transaction, and two in
    blocks whose order is not known.
    """
    async with api.database.service() as connection:
        await insert_market(connection, "m")
    for slot in (1, 2, 4, 5):
        await happen(api, f"slot {slot}", slot)
    await happen(api, "second", 3, index_in_block=7, tx_signature=signature("both"), event_index=1)
    await happen(api, "first", 3, index_in_block=7, tx_signature=signature("both"))
    await happen(api, "later", 3, index_in_block=9)
    await happen(api, "somewhen", 3)
    await happen(api, "any time", 3)
    return api


async def page(api: Api, **query: Any) -> tuple[list[str], str | None]:
    answer = await api.anybody.get(PATH, **query)
    assert answer.status == 200, answer.body
    assert answer.body["count"] == len(answer.body["events"])
    return [event["data"]["approved_by"] for event in answer.body["events"]], answer.body["next_cursor"]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 8, 9])
async def test_the_pages_of_the_trail_have_each_event_once_in_order(eventful: Api, limit: int) -> None:
    whole, end = await page(eventful)
    assert (len(whole), end) == (9, None)
    assert whole[:5] == ["slot 5", "slot 4", "later", "second", "first"]
    assert set(whole[5:7]) == {"somewhen", "any time"}

    told, cursor = await page(eventful, limit=limit)
    while cursor is not None:
        names, cursor = await page(eventful, limit=limit, cursor=cursor)
        assert names
        told += names
    assert told == whole


async def test_an_event_that_is_indexed_late_is_on_a_page_that_is_still_to_come(eventful: Api) -> None:
    names, cursor = await page(eventful, limit=4)
    await happen(eventful, "missed", 5)
    await happen(eventful, "in time", 2)

    rest, _ = await page(eventful, cursor=cursor)

    assert "missed" not in names + rest
    assert rest.count("in time") == 1


@pytest.mark.parametrize(
    "place",
    [
        '{"type":"trades/1","slot":3,"id":1}',
        '{"type":"events/1","slot":3,"in_block":-2,"signature":"a","event_index":0}',
        '{"type":"events/1","slot":3,"in_block":2147483648,"signature":"a","event_index":0}',
        '{"type":"events/1","slot":3,"in_block":1,"signature":"\\u0000","event_index":0}',
        '{"type":"events/1","slot":3,"in_block":1,"signature":"' + "a" * 89 + '","event_index":0}',
        '{"type":"events/1","slot":3,"in_block":1,"signature":"a"}',
    ],
)
async def test_a_cursor_of_another_list_is_refused(eventful: Api, place: str) -> None:
    cursor = base64.urlsafe_b64encode(place.encode()).rstrip(b"=").decode()
    answer = await eventful.anybody.get(PATH, cursor=cursor)
    assert (answer.status, answer.body["code"]) == (400, "invalid_request")
    assert answer.body["details"] == [{"field": "cursor", "message": "must be a next_cursor of this list"}]


async def test_bad_limits_of_the_trail_are_refused_by_name(eventful: Api) -> None:
    assert await page(eventful, limit=0) == ([], None)
    assert (await eventful.anybody.get(PATH, limit=101)).body["details"][0]["field"] == "limit"
    _, cursor = await page(eventful, limit=1)
    assert (await eventful.anybody.get(PATH, cursor=cursor, offset=1)).status == 400

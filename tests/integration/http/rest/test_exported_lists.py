"""Lists as CSV and as JSON Lines."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from aiohttp import ClientResponse
from solders.keypair import Keypair
from yarl import URL

from tests.integration.http.rest.rest_api import Api, Caller
from tests.integration.store.rows import insert_market, insert_position, insert_trade, market_id, signature

ALICE, BOB = Keypair.from_seed(bytes([31] * 32)), Keypair.from_seed(bytes([32] * 32))
WALLET = str(ALICE.pubkey())
CSV, JSON_LINES = "text/csv", "application/x-ndjson"
TRADES = 1_205
"""Of one market: five in six of BOB, the others of ALICE."""

_MANY_TRADES = """
insert into trades (market_id, user_wallet, trade_type, outcome, shares, cost, amount, price_after,
                    tx_signature, event_index, slot, block_time)
select $1, case when number % 6 = 0 then $2 else $3 end, 'buy', number % 7 = 0, number, 11, 10, 0.5,
       $4, number, number / 4, now()
  from generate_series(1, $5::int) as number
"""


async def export(caller: Caller, path: str, media_type: str, **query: Any) -> ClientResponse:
    return await caller.client.get(
        path, params=query, headers={**caller.headers, "Accept": f"{media_type}, application/json;q=0.5"}
    )


async def rows(response: ClientResponse) -> list[dict[str, Any]]:
    """What an export says, with the values of CSV as texts."""
    assert response.status == 200, await response.text()
    text = (await response.read()).decode()
    if response.content_type == JSON_LINES:
        return [json.loads(line) for line in text.splitlines()]
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def every_page(caller: Caller, path: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = (await caller.get(path, limit=200, **query)).body
        found += page["trades"]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


def as_cells(row: dict[str, Any]) -> dict[str, str]:
    """A row of JSON in the texts and columns of CSV."""
    flat = {
        f"{name}_{part}" if part else name: one
        for name, value in row.items()
        for part, one in (value.items() if isinstance(value, dict) else [("", value)])
    }
    return {
        name: "" if value is None else value if isinstance(value, str) else json.dumps(value)
        for name, value in flat.items()
    }


async def test_exports_have_every_row_of_the_pages_whoever_reads_them(api: Api) -> None:
    async with api.database.service() as connection:
        market = await insert_market(connection, "m")
        await connection.execute(_MANY_TRADES, market, WALLET, str(BOB.pubkey()), signature("many"), TRADES)
    for caller, path, query in (
        (api.anybody, "/api/trades", {"outcome": "true"}),
        (api.anybody, f"/api/markets/{market}/trades", {}),
        (api.as_wallet(BOB), "/api/trades", {"wallet": WALLET}),
        (api.as_wallet(ALICE), "/api/trades/history", {"market_id": market}),
        (api.as_wallet(BOB), f"/api/users/{WALLET}/trades", {}),
    ):
        pages = await every_page(caller, path, **query)
        for media_type in (CSV, JSON_LINES):
            first = await export(caller, path, media_type, **query)
            found, following = await rows(first), first.links.get("next")
            assert len(found) == min(len(pages), 1_000)
            assert (following is not None) == (len(pages) > 1_000) == ("X-Next-Cursor" in first.headers)
            if following is not None:
                rest = await export(caller, URL(following["url"]).path_qs, media_type)
                found += await rows(rest)
                assert "X-Next-Cursor" not in rest.headers
            assert found == (pages if media_type == JSON_LINES else [as_cells(one) for one in pages])


async def test_an_export_has_as_many_rows_as_its_limit_and_no_offset(api: Api) -> None:
    async with api.database.service() as connection:
        market = await insert_market(connection, "m")
        for slot in range(4):
            await insert_trade(connection, str(slot), market, WALLET, slot=slot)
    two = await export(api.anybody, "/api/trades", JSON_LINES, limit=2)
    assert [row["slot"] for row in await rows(two)] == [3, 2]
    rest = await export(api.anybody, "/api/trades", CSV, limit=2, cursor=two.headers["X-Next-Cursor"])
    assert [row["slot"] for row in await rows(rest)] == ["1", "0"]
    assert not rest.links
    none = await export(api.anybody, "/api/trades", CSV, limit=0)
    assert (await none.text()).count("\r\n") == 1
    head = await api.client.head("/api/trades", headers={"Accept": CSV})
    assert (head.status, head.content_type, await head.read()) == (200, CSV, b"")

    offset = await export(api.anybody, "/api/trades", CSV, offset=1)
    assert (offset.status, [one["field"] for one in (await offset.json())["details"]]) == (400, ["offset"])
    for query, status in (
        ({"limit": 201}, 400),
        ({"market_id": market_id("x")}, 404),
        ({"cursor": "x"}, 400),
    ):
        refused = await export(api.anybody, "/api/trades", CSV, **query)
        assert (refused.status, refused.content_type) == (status, "application/json")


async def test_who_may_not_read_a_list_may_not_export_it(api: Api) -> None:
    async with api.database.service() as connection:
        market = await insert_market(connection, "m")
        await insert_position(connection, market, WALLET)
    paths = (
        f"/api/users/{WALLET}/portfolio",
        f"/api/users/{WALLET}/positions",
        f"/api/positions/{WALLET}",
    )
    for caller, status in ((api.anybody, 401), (api.as_wallet(BOB), 403)):
        for path in paths:
            assert (await export(caller, path, CSV)).status == status
    for path in ("/api/trades/history", f"/api/users/{WALLET}/trades", f"/api/trades?wallet={WALLET}"):
        assert (await export(api.anybody, path, JSON_LINES)).status == 401
    for path in paths:
        assert len(await rows(await export(api.as_wallet(ALICE), path, CSV))) == 1


@pytest.mark.parametrize(
    "path",
    [f"/api/users/{WALLET}/portfolio", f"/api/users/{WALLET}/positions", f"/api/positions/{WALLET}"],
)
async def test_positions_are_exported_and_a_question_is_no_formula(api: Api, path: str) -> None:
    formula = '=HYPERLINK("https://evil.example","Won?"), or\n-1+1?'
    async with api.database.service() as connection:
        for number in range(5):
            market = await insert_market(connection, str(number), question=formula)
            await insert_position(connection, market, WALLET, total_invested=10**9)
            await insert_trade(connection, str(number), market, WALLET, cost=10**9)
    alice = api.as_wallet(ALICE)
    whole = (await alice.get(path)).body
    if path.endswith("/portfolio"):
        assert (whole["count"], whole["total"]) == (5, 5)
        whole = whole["positions"]
    assert await rows(await export(alice, path, JSON_LINES)) == whole
    first = await export(alice, path, CSV, limit=3)
    second = await export(alice, path, CSV, cursor=first.headers["X-Next-Cursor"])
    found = await rows(first) + await rows(second)
    if "question" in whole[0]:
        whole = [{**one, "question": f"'{formula}"} for one in whole]
    assert found == [as_cells(one) for one in whole]


async def test_json_is_what_comes_unless_something_else_is_preferred(api: Api) -> None:
    for accept, expected in (
        ("*/*", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("text/csv, application/json", "application/json"),
        ("image/png", "application/json"),
        ("text/csv;q=0", "application/json"),
        ("text/*", CSV),
        ("application/json;q=0.1, application/x-ndjson;q=0.2", JSON_LINES),
    ):
        answer = await api.client.get("/api/trades", headers={"Accept": accept})
        assert (answer.status, answer.content_type) == (200, expected), accept
        assert answer.headers["Vary"] == "Origin, Authorization, Accept"

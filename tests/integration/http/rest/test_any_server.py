"""The API on a server that knows nothing of the daemon's own, as `aiohttp_client` makes one."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator

import pytest
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import Api, running_api
from tests.integration.store.rows import insert_market
from zmartd.market.lifecycle import MarketState
from zmartd.store.postgres.database import Database

WALLET = Keypair.from_seed(bytes([9] * 32))
PREFLIGHT = {"Access-Control-Request-Method": "GET"}


@pytest.fixture
async def plain(database: Database, redis_url: str) -> AsyncIterator[Api]:
    async with running_api(database, redis_url, on_any_server=True) as api:
        yield api


async def test_a_market_is_read_and_remembered(plain: Api) -> None:
    async with plain.database.service() as connection:
        market = await insert_market(connection, "m")
    first = await plain.anybody.get(f"/api/markets/{market}")
    assert (first.status, first.body["id"]) == (200, market)
    known = {"If-None-Match": first.headers["Etag"]}
    assert (await plain.client.get(f"/api/markets/{market}", headers=known)).status == 304


async def test_a_body_may_be_compressed(plain: Api) -> None:
    async with plain.database.service() as connection:
        market = await insert_market(connection, "m", MarketState.PROPOSED)
    caller = plain.as_wallet(WALLET)
    body = gzip.compress(json.dumps({"market_id": market, "vote": True}).encode())
    headers = {**caller.headers, "Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = await plain.client.post("/api/votes/proposal", data=body, headers=headers)
    assert answer.status == 201, await answer.text()


async def test_refusals_are_those_of_the_api(plain: Api) -> None:
    for method, path, headers, expected in (
        ("GET", "/api/nowhere", {}, (404, "route_not_found")),
        ("PUT", "/api/markets", {}, (405, "method_not_allowed")),
        ("GET", "/api/markets", {"Expect": "a miracle"}, (400, "invalid_http")),
        ("GET", "/api/nowhere", {"Expect": "a miracle"}, (400, "invalid_http")),
        ("OPTIONS", "/api/markets", {**PREFLIGHT, "Expect": "a miracle"}, (400, "invalid_http")),
        ("OPTIONS", "/api/nowhere", {**PREFLIGHT, "Expect": "a miracle"}, (400, "invalid_http")),
    ):
        origin = {"Origin": "https://app.example"}
        answer = await plain.client.request(method, path, headers={**headers, **origin})
        body = await answer.json()
        assert (answer.status, body["code"]) == expected
        assert answer.headers["X-Request-Id"] == body["request_id"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert method == "OPTIONS" or answer.headers["RateLimit-Limit"]


async def test_a_websocket_is_served(plain: Api) -> None:
    async with plain.client.ws_connect("/ws") as socket:
        assert (await socket.receive_json())["type"] == "welcome"

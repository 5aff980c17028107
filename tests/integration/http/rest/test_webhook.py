from __future__ import annotations

import hashlib
import hmac
from typing import Any

import msgspec
import pytest

from tests.integration.http.rest.database_cable import Cable
from tests.integration.http.rest.rest_api import AUTHORIZATION, HMAC_KEY, Api
from tests.shared_secrets import shared_secret

BODY = b'[{"slot": 1}, {"slot": 2}]'
REGISTERED = {"Authorization": AUTHORIZATION}


def signed(body: bytes, key: str = HMAC_KEY) -> dict[str, str]:
    return {"x-helius-signature": hmac.new(key.encode(), body, hashlib.sha256).hexdigest()}


async def deliver(api: Api, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    response = await api.client.post("/helius/webhook", data=body, headers=headers)
    return response.status, await response.json()


async def inbox(api: Api) -> list[bytes]:
    async with api.database.service() as connection:
        return [row["body"] for row in await connection.fetch("select body from webhook_inbox order by id")]


@pytest.mark.parametrize(
    "headers",
    [REGISTERED, {"Authorization": f"Bearer {AUTHORIZATION}"}, signed(BODY)],
)
async def test_an_authentic_delivery_is_committed_before_it_is_acknowledged(
    api: Api, headers: dict[str, str]
) -> None:
    assert await deliver(api, BODY, headers) == (200, {"received": True, "transactions": 2})
    assert await inbox(api) == [BODY]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": shared_secret("another")},
        {"Authorization": ""},
        signed(BODY, key=shared_secret("another")),
        signed(BODY + b" "),
        {"x-helius-signature": ""},
    ],
)
async def test_a_delivery_that_proves_nothing_is_turned_away(api: Api, headers: dict[str, str]) -> None:
    status, body = await deliver(api, BODY, headers)
    assert (status, body["code"]) == (401, "webhook_unauthorized")
    assert await inbox(api) == []


async def test_a_single_transaction_counts_as_one_and_an_empty_array_as_none(api: Api) -> None:
    assert (await deliver(api, b'{"slot": 1}', REGISTERED))[1]["transactions"] == 1
    assert (await deliver(api, b"[]", REGISTERED))[1]["transactions"] == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"x"', b"[" * 4_000, b"\xff"])
async def test_what_holds_no_transactions_is_refused(api: Api, body: bytes) -> None:
    status, answer = await deliver(api, body, REGISTERED)
    assert (status, answer["code"]) == (400, "malformed_delivery")


async def test_a_delivery_above_the_limit_is_too_large(api: Api) -> None:
    status, answer = await deliver(api, b" " * 200_001, REGISTERED)
    assert (status, answer["code"]) == (413, "body_too_large")
    assert answer["details"] == {"limit_bytes": 200_000}


async def test_a_delivery_may_be_larger_than_what_the_api_accepts(api: Api) -> None:
    body = b"[" + b" " * 150_000 + b"]"
    assert await deliver(api, body, REGISTERED) == (200, {"received": True, "transactions": 0})


async def test_a_delivery_that_cannot_be_committed_is_asked_for_again(
    severable_api: Api, cable: Cable
) -> None:
    await cable.cut()
    status, answer = await deliver(severable_api, BODY, REGISTERED)
    assert (status, answer["code"]) == (503, "database_unavailable")


async def test_a_delivered_event_is_applied_like_any_other(api: Api) -> None:
    body = msgspec.json.encode({"slot": 5, "transaction": {"signatures": ["not a transaction"]}})
    await deliver(api, body, REGISTERED)
    await api.inbox.apply_batch()
    async with api.database.service() as connection:
        assert await connection.fetchval("select status from webhook_inbox") == "parked"

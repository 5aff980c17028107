"""What a route declares about who may call it is what happens to who calls it without a credential."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import Api
from tests.integration.http.sample_bodies import BODIES
from tests.integration.store.rows import insert_market
from zmartd.http.kit.operation import Access, Operation
from zmartd.http.routes import OPERATIONS

WALLET = str(Keypair.from_seed(bytes([17] * 32)).pubkey())
SIGNATURE = str(Keypair.from_seed(bytes([17] * 32)).sign_message(b""))
COMMENT = "00000000-0000-4000-8000-000000000007"


def named(operation: Operation[Any]) -> str:
    return f"{operation.method} {operation.path}"


async def status_without_credential(api: Api, operation: Operation[Any]) -> tuple[int, str]:
    async with api.database.service() as connection:
        market = await insert_market(connection, "m")
    of_comments = operation.path == "/api/discussions/{id}" and operation.method in {"PATCH", "DELETE"}
    path = operation.path.replace("{id}", COMMENT if of_comments else market)
    path = path.replace("{wallet}", WALLET).replace("{signature}", SIGNATURE).replace("{number}", "7")
    soon = (datetime.now(UTC) + timedelta(days=30)).isoformat()
    body = {
        name: {"{market}": market, "{soon}": soon}.get(str(value), value)
        for name, value in BODIES.get(operation.path, {}).items()
    }
    response = await api.client.request(operation.method, path, json=body if operation.body else None)
    is_json = response.content_type == "application/json"
    answer = await response.json() if is_json else {}
    return response.status, answer.get("code", "") if isinstance(answer, dict) else ""


@pytest.mark.parametrize(
    "operation",
    [one for one in OPERATIONS if one.needs_wallet],
    ids=named,
)
async def test_a_route_that_declares_a_wallet_or_a_session_refuses_who_has_none(
    api: Api, operation: Operation[Any]
) -> None:
    assert await status_without_credential(api, operation) == (401, "auth_missing")


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.access is Access.PUBLIC], ids=named)
async def test_a_route_that_declares_nothing_needs_nothing(api: Api, operation: Operation[Any]) -> None:
    status, code = await status_without_credential(api, operation)
    assert status not in {401, 403}, code


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.access is Access.HELIUS], ids=named)
async def test_a_route_for_helius_refuses_others(api: Api, operation: Operation[Any]) -> None:
    assert await status_without_credential(api, operation) == (401, "webhook_unauthorized")


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.access is Access.OWNER], ids=named)
async def test_a_route_for_the_wallet_in_its_path_refuses_others(api: Api, operation: Operation[Any]) -> None:
    async with api.database.service() as connection:
        market = await insert_market(connection, "m")
    path = operation.path.replace("{id}", market).replace("{wallet}", WALLET)
    answer = await api.as_wallet(Keypair()).get(path)
    assert (answer.status, answer.body["code"]) == (403, "not_yours")

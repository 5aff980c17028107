"""No route ignores a parameter or a field: what it does not take, or is given twice, is refused by name."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import AUTHORIZATION, Api, Caller
from tests.integration.store.rows import insert_market
from zmartd.http.kit.earlier_names import CREDENTIALS
from zmartd.http.kit.names import NoFields
from zmartd.http.kit.operation import Operation
from zmartd.http.routes import OPERATIONS
from zmartd.market.ids import cid_v0

ALICE = Keypair.from_seed(bytes([17] * 32))
KNOWN_OF_A_SIGN_IN = {"message", "signature", "wallet", "publicKey"}
VALUES = {
    "{id}": "ab" * 32,
    "{wallet}": str(ALICE.pubkey()),
    "{signature}": str(ALICE.sign_message(b"")),
    "{slug}": "will-it-rain",
    "{number}": "7",
    "{cid}": cid_v0(b"a document"),
    "{chapter}": "operations",
}


def path_of(operation: Operation[Any]) -> str:
    path = operation.path
    for variable, value in VALUES.items():
        path = path.replace(variable, value)
    return path


async def problems(
    caller: Caller, operation: Operation[Any], query: str = "", body: str | None = None
) -> dict[str, str]:
    """What is said of each field in the refusal; an error of another kind is under its status."""
    url, headers = f"{path_of(operation)}?{query}", dict(caller.headers)
    if body is not None:
        headers["Content-Type"] = "application/json"
    answer = await caller.client.request(operation.method, url, headers=headers, data=body)
    said = await answer.json() if answer.content_type == "application/json" else {}
    if answer.status != 400 or said["code"] != "invalid_request":
        return {f"{answer.status}": str(said)}
    return {one["field"]: one["message"] for one in said["details"]}


def names(kind: type[Struct] | None) -> list[str]:
    return [one.encode_name for one in msgspec.structs.fields(kind or NoFields)]


WITH_BODIES = [one for one in OPERATIONS if one.body is not None or one.expects_no_body]
"""All that read a body as JSON but the webhook, whose elements others decide about."""


async def test_every_route_refuses_a_parameter_that_it_does_not_take(api: Api) -> None:
    for caller in (api.anybody, api.as_wallet(ALICE)):
        for operation in OPERATIONS:
            found = await problems(caller, operation, "next_cursor=x")
            said = found.get("next_cursor", f"{operation.method} {operation.path}: {found}")
            assert said.startswith("is not a parameter of this route")
            assert ("did you mean cursor?" in said) == ("cursor" in names(operation.query))
            assert said.endswith(", ".join(names(operation.query)) or "which takes none")


async def test_every_route_refuses_a_parameter_that_is_given_twice(api: Api) -> None:
    refused = {
        (operation.path, name): name in await problems(api.anybody, operation, f"{name}=1&{name}=1")
        for operation in OPERATIONS
        for name in names(operation.query)
    }
    assert len(refused) > 50
    assert [where for where, is_refused in refused.items() if not is_refused] == []


async def test_every_route_refuses_a_field_that_it_does_not_take(api: Api) -> None:
    assert len(WITH_BODIES) == len([one for one in OPERATIONS if one.writes]) - 1
    for caller in (api.anybody, api.as_wallet(ALICE)):
        for operation in WITH_BODIES:
            found = await problems(caller, operation, body='{"markte_id": null, "_": []}')
            assert {"markte_id", "_"} <= {*found}, f"{operation.method} {operation.path}: {found}"
            taken = names(operation.body)
            assert found["_"] == f"is not a field of this body, which takes {', '.join(taken) or 'none'}"
            assert ("did you mean market_id?" in found["markte_id"]) == ("market_id" in taken)


async def test_every_route_refuses_a_field_that_is_given_twice(api: Api) -> None:
    refused = {
        (operation.path, name): name
        in await problems(api.anybody, operation, body=f'{{"{name}": null, "{name}": null}}')
        for operation in WITH_BODIES
        for name in names(operation.body)
    }
    assert len(refused) > 25
    assert [where for where, is_refused in refused.items() if not is_refused] == []


async def test_what_earlier_clients_prove_themselves_with_is_let_through(api: Api) -> None:
    credentials = ", ".join(f'"{name}": ""' for name in sorted(CREDENTIALS))
    for operation in WITH_BODIES:
        found = await problems(api.anybody, operation, body=f"{{{credentials}}}")
        said = {name for name, message in found.items() if "is not a field of this body" in message}
        assert said == (set() if operation.needs_wallet else CREDENTIALS - KNOWN_OF_A_SIGN_IN), operation.path


async def test_a_delivery_may_have_what_nobody_here_reads(api: Api) -> None:
    headers = {"Authorization": AUTHORIZATION}
    delivery: list[dict[str, Any]] = [{"nativeTransfers": [], "blockTime": None, "newest": {"field": 1}}]
    answer = await api.client.post("/helius/webhook", json=delivery, headers=headers)
    assert answer.status == 200


async def test_an_answer_in_memory_is_not_given_to_a_misspelt_question(api: Api) -> None:
    async with api.database.service() as connection:
        market = await insert_market(connection, "m")
    for path in (f"/api/markets/{market}", "/api/markets", "/api/stats", "/api/markets/categories"):
        assert (await api.anybody.get(path)).status == 200
        assert (await api.anybody.get(path)).status == 200
        for query in ({"status": "FINALIZED"}, {"_": "1"}):
            assert (await api.anybody.get(path, **query)).status == 400


async def test_a_question_that_was_misspelt_says_what_was_meant(api: Api) -> None:
    for name, meant in (("next_cursor", "cursor"), ("status", "state"), ("creator_wallet", "creator")):
        answer = await api.anybody.get("/api/markets", **{name: "x"})
        assert answer.status == 400
        assert f"{name} is not a parameter of this route; did you mean {meant}?" in answer.body["message"]

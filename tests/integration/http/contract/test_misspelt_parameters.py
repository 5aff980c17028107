"""No route ignores a parameter: what it does not take, or is given twice, is refused with its name."""

from __future__ import annotations

from typing import Any

import msgspec
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import Api, Caller
from tests.integration.store.rows import insert_market
from zmartd.http.kit.operation import Operation
from zmartd.http.kit.parameters import NoParameters
from zmartd.http.routes import OPERATIONS

ALICE = Keypair.from_seed(bytes([17] * 32))
VALUES = {
    "{id}": "ab" * 32,
    "{wallet}": str(ALICE.pubkey()),
    "{signature}": str(ALICE.sign_message(b"")),
}


def path_of(operation: Operation[Any]) -> str:
    path = operation.path
    for variable, value in VALUES.items():
        path = path.replace(variable, value)
    return path


async def problems(caller: Caller, operation: Operation[Any], query: str) -> dict[str, str]:
    """What is said of each field in the refusal of `query`; an error of another kind is under its code."""
    url = f"{path_of(operation)}?{query}"
    answer = await caller.client.request(operation.method, url, headers=caller.headers)
    body = await answer.json() if answer.content_type == "application/json" else {}
    if answer.status != 400 or body["code"] != "invalid_request":
        return {f"{answer.status}": str(body)}
    return {one["field"]: one["message"] for one in body["details"]}


def names(operation: Operation[Any]) -> list[str]:
    return [one.encode_name for one in msgspec.structs.fields(operation.query or NoParameters)]


async def test_every_route_refuses_a_parameter_that_it_does_not_take(api: Api) -> None:
    for caller in (api.anybody, api.as_wallet(ALICE)):
        for operation in OPERATIONS:
            found = await problems(caller, operation, "next_cursor=x")
            said = found.get("next_cursor", f"{operation.method} {operation.path}: {found}")
            assert said.startswith("is not a parameter of this route")
            assert ("did you mean cursor?" in said) == ("cursor" in names(operation))
            assert said.endswith(", ".join(names(operation)) or "which takes none")


async def test_every_route_refuses_a_parameter_that_is_given_twice(api: Api) -> None:
    refused = {
        (operation.path, name): name in await problems(api.anybody, operation, f"{name}=1&{name}=1")
        for operation in OPERATIONS
        for name in names(operation)
    }
    assert len(refused) > 50
    assert [where for where, is_refused in refused.items() if not is_refused] == []


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

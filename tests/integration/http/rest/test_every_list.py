"""What all lists of the API have in common, whichever they are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec import inspect
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import Api
from tests.integration.store.rows import NOON, insert_market, market_id
from zmartd.http.kit.fields import Category
from zmartd.http.kit.operation import Operation, is_json
from zmartd.http.openapi.schemas import query_fields
from zmartd.http.routes import OPERATIONS

ALICE = Keypair.from_seed(bytes([31] * 32))
BOUNDED = {
    "/api/auth/nonce": "the domains of the settings",
    "/api/markets/{id}": "a market's tags, sources and next steps",
    "/api/markets/by-slug/{slug}": "the same",
    "/api/markets/categories": "those that there are",
    "/api/markets/trending": "the first hundred at most",
    "/api/markets/{id}/related": "the first hundred at most",
    "/api/markets/{id}/settlement": "a decision for each of two states",
    "/api/markets/{id}/candles": "a thousand periods at most",
    "/api/discussions/ipfs/{cid}": "a document as it is on IPFS, with a largest size",
    "/api/transactions/{signature}": "what one transaction can say",
}
"""Answers with arrays that do not grow without end."""


def arrays(kind: inspect.Type, seen: tuple[type, ...] = ()) -> Iterator[inspect.Type]:
    """The arrays in answers of this type."""
    if isinstance(kind, inspect.VarTupleType | inspect.ListType | inspect.CollectionType):
        yield kind
    elif isinstance(kind, inspect.UnionType):
        for choice in kind.types:
            yield from arrays(choice, seen)
    elif isinstance(kind, inspect.StructType) and kind.cls not in seen:
        for field in kind.fields:
            yield from arrays(field.type, (*seen, kind.cls))


UNCOUNTED = {
    "/api/markets/activity": "trades of everybody; GET /api/stats has their number",
    "/api/markets/{id}/discussions": "a bare array for earlier clients",
    "/api/positions/{wallet}": "the same",
    "/api/users/{wallet}/positions": "the same",
}
"""Lists with pages and without a total."""

LISTS = [
    operation
    for operation in OPERATIONS
    if operation.method == "GET" and is_json(operation.responses.get(200))
    if any(arrays(inspect.type_info(operation.responses[200])))
]
LIMITED = [one for one in LISTS if one.query is not None and "limit" in one.query.__struct_fields__]
READ_BY_ALICE = [one for one in LIMITED if not one.path.startswith("/api/admin/")]


def test_every_list_that_can_grow_has_pages_and_a_limit() -> None:
    def fields(operation: Operation[Any]) -> set[str]:
        return set() if operation.query is None else set(operation.query.__struct_fields__)

    assert {one.path for one in LISTS if not {"cursor", "limit"} <= fields(one)} == set(BOUNDED)


def test_every_list_with_pages_has_their_total_and_those_that_have_none_say_so() -> None:
    def names(operation: Operation[Any]) -> set[str]:
        return set(getattr(operation.responses[200], "__struct_fields__", ()))

    paged = [one for one in LISTS if one.query is not None and "cursor" in one.query.__struct_fields__]
    assert {one.path for one in paged if "total" not in names(one)} == set(UNCOUNTED)
    (feed,) = [one for one in paged if one.path == "/api/markets/activity"]
    assert "GET /api/stats" in (feed.responses[200].__doc__ or "")


def test_every_list_says_what_its_limit_may_be() -> None:
    for operation in LIMITED:
        assert operation.query is not None
        (schema,) = [schema for name, _, schema in query_fields(operation.query) if name == "limit"]
        most = 200 if "/trades" in operation.path or "/price-history" in operation.path else 100
        assert (schema["minimum"], schema["maximum"]) == (0, most), operation.path
        assert schema["description"] == f"The most items on a page. Send a whole number from 0 to {most}."


@pytest.mark.parametrize("operation", READ_BY_ALICE, ids=lambda one: one.path)
async def test_more_than_the_limit_is_refused_and_nothing_is_nothing(
    api: Api, operation: Operation[Any]
) -> None:
    async with api.database.service() as connection:
        await insert_market(connection, "m")
    alice = api.as_wallet(ALICE)
    path = operation.path.replace("{id}", market_id("m")).replace("{wallet}", alice.address)
    for limit in (-1, 201, 10**30):
        refused = await alice.get(path, limit=limit)
        assert (refused.status, refused.body["code"]) == (400, "invalid_request")
        assert [one["field"] for one in refused.body["details"]] == ["limit"]
    nothing = await alice.get(path, limit=0)
    body = nothing.body if isinstance(nothing.body, dict) else {"": nothing.body}
    assert nothing.status == 200
    assert all(value == [] for value in body.values() if isinstance(value, list))
    assert body.get("next_cursor") is None


async def test_there_are_no_more_categories_than_are_documented(api: Api) -> None:
    answer = await api.anybody.get("/api/markets/categories")
    assert [one["id"] for one in answer.body["categories"]] == list(Category.ALL)


@pytest.mark.parametrize(("hours", "status"), [(1_000, 200), (1_001, 400)])
async def test_a_thousand_candles_is_the_most(api: Api, hours: int, status: int) -> None:
    async with api.database.service() as connection:
        await insert_market(connection, "m")
    answer = await api.anybody.get(
        f"/api/markets/{market_id('m')}/candles",
        **{"from": (NOON - timedelta(hours=hours)).isoformat(), "to": NOON.isoformat()},
    )
    assert answer.status == status, answer.body

"""How rows become CSV, and how an export is sent, in an application that has nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiohttp import ClientPayloadError, web
from aiohttp.test_utils import TestClient
from msgspec import Struct
from pytest_aiohttp.plugin import AiohttpClient

from zmartd.http.kit.accept import MAX_RANGES, preferred_type
from zmartd.http.kit.exports import JSON_LINES, csv_cell, csv_columns, export_response
from zmartd.http.kit.operation import ExportedRows
from zmartd.store.postgres.errors import DatabaseUnavailable

Client = TestClient[web.Request, Any]
BATCHES = 5_000


class Part(Struct, frozen=True):
    a: int
    b: str


class Row(Struct, frozen=True, rename="camel"):
    first_one: str
    part: Part


PRODUCED = web.AppKey("produced", list[int])


async def large(request: web.Request) -> web.Response:
    """320 MB, unless nobody reads them."""

    async def batches() -> AsyncIterator[Sequence[Row]]:
        for number in range(BATCHES):
            request.app[PRODUCED].append(number)
            yield [Row("x" * 65_536, Part(number, ""))]

    return export_response(request, JSON_LINES, Row, ExportedRows(batches(), None))


async def broken(request: web.Request) -> web.Response:
    async def batches() -> AsyncIterator[Sequence[Row]]:
        yield [Row("the first", Part(1, ""))]
        raise DatabaseUnavailable if "unavailable" in request.path else KeyError("a bug")

    return export_response(request, JSON_LINES, Row, ExportedRows(batches(), None))


@pytest.fixture
async def client(aiohttp_client: AiohttpClient) -> Client:
    app = web.Application()
    app[PRODUCED] = []
    app.router.add_get("/large", large)
    app.router.add_get("/unavailable", broken)
    app.router.add_get("/bug", broken)
    return await aiohttp_client(app)


async def test_no_more_is_read_than_the_client_takes(client: Client) -> None:
    response = await client.get("/large")
    assert await response.content.readline()
    assert client.app is not None
    assert 1 <= len(client.app[PRODUCED]) < BATCHES
    response.close()


@pytest.mark.parametrize("path", ["/unavailable", "/bug"])
async def test_a_part_is_never_taken_for_the_whole(client: Client, path: str) -> None:
    response = await client.get(path)
    assert response.status == 200
    with pytest.raises(ClientPayloadError):
        await response.read()


def test_the_fields_of_a_struct_are_columns_of_their_own() -> None:
    assert list(csv_columns(Row)) == [("firstOne",), ("part", "a"), ("part", "b")]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""),
        (True, "true"),
        (-7, "-7"),
        (0.25, "0.25"),
        ("-7", "-7"),
        ("-1.5e-9", "-1.5e-9"),
        ("=1+1", "'=1+1"),
        ("-1+1", "'-1+1"),
        ("+41", "'+41"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("1=1", "1=1"),
    ],
)
def test_no_text_is_a_formula(value: object, cell: str) -> None:
    assert csv_cell(value) == cell


def test_a_list_is_no_cell() -> None:
    with pytest.raises(TypeError):
        csv_cell([1])


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", None),
        ("*/*", "a/json"),
        ("t/*", "t/csv"),
        ("t/csv", "t/csv"),
        ("t/csv" + ",x/y" * 2_000, "t/csv"),
        ("x/y," * MAX_RANGES + "t/csv", None),
        ("T/CSV ; charset=utf-8 ; Q=0.5, a/json;q=0.4", "t/csv"),
        ("t/csv, a/json", "a/json"),
        ("t/csv;q=0, */*;q=0.1", "a/json"),
        ("a/json;q=0, */*", "t/csv"),
        ("a/*;q=0.9, t/*;q=0.901", "t/csv"),
        (";q=;,,,/", None),
        ("t/csv;q=2", "t/csv"),
        ("image/png", None),
    ],
)
def test_the_most_specific_range_with_the_highest_quality_decides(accept: str, expected: str | None) -> None:
    assert preferred_type(accept, ("a/json", "t/csv")) == expected

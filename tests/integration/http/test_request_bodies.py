"""Bodies over a real socket: compressed ones, those that nobody wants to read, and those given up midway."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from traceback import walk_tb

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from aiohttp.typedefs import Handler

from tests.integration.http.served import Client, Served
from zmartd.errors import ZmartdError
from zmartd.http.errors.requests import WebhookBusy
from zmartd.http.errors.statuses import status_of
from zmartd.http.kit.codec import json_response, read_body, read_raw

LIMIT = 1_000
BOMB = gzip.compress(bytes(1_000_000))
"""Grows by a factor of a thousand."""

TAKEN = web.AppKey("taken", asyncio.Event)
"""Set when a part of a body is held."""


async def measure(request: web.Request) -> web.Response:
    return json_response({"bytes": len(await read_body(request, LIMIT))})


async def ignore(request: web.Request) -> web.Response:
    return json_response({"decompressed": request.content.total_compressed_bytes is not None})


async def give_up(request: web.Request) -> web.Response:
    """Tells how large the bodies are that the error refers to."""

    def take(_: int) -> None:
        if request.app[TAKEN].is_set():
            raise WebhookBusy
        request.app[TAKEN].set()

    try:
        await read_raw(request, LIMIT, take)
    except WebhookBusy as error:
        frames = [frame for frame, _ in walk_tb(error.__traceback__)]
        kept = [value for frame in frames for value in frame.f_locals.values()]
        return json_response({"kept": sum(len(value) for value in kept if isinstance(value, bytearray))})
    raise AssertionError("it was not given up")


@web.middleware
async def told(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ZmartdError as error:
        return json_response({"code": error.code}, status_of(type(error)))


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    app = web.Application(middlewares=[told])
    app.add_routes([web.post("/read", measure), web.post("/ignored", ignore), web.post("/given-up", give_up)])
    app[TAKEN] = asyncio.Event()
    async with TestClient(Served(app)) as client:
        yield client


async def send(client: Client, body: bytes, encoding: str) -> tuple[int, dict[str, object]]:
    response = await client.post("/read", data=body, headers={"Content-Encoding": encoding})
    return response.status, await response.json()


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("GZIP", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)],
)
async def test_a_compressed_body_is_read_up_to_the_limit(
    client: Client, encoding: str, compress: type[bytes]
) -> None:
    assert await send(client, compress(b"a" * LIMIT), encoding) == (200, {"bytes": LIMIT})
    assert await send(client, compress(b"a" * (LIMIT + 1)), encoding) == (413, {"code": "body_too_large"})


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b"a" * LIMIT)[:-1],
        gzip.compress(b"a" * LIMIT) + b"more",
        gzip.compress(b"") + gzip.compress(b"a"),
        b"",
    ],
    ids=["cut off", "more behind it", "two in a row", "nothing"],
)
async def test_what_is_not_exactly_one_compressed_body_is_malformed(client: Client, body: bytes) -> None:
    assert await send(client, body, "gzip") == (400, {"code": "invalid_http"})


async def test_a_compression_that_is_not_known_is_named_as_the_reason(client: Client) -> None:
    for encoding in ("br", "gzip, gzip", "zstd"):
        assert await send(client, b"anything", encoding) == (415, {"code": "unsupported_media_type"})


async def test_of_a_body_that_grows_nothing_is_made_beyond_the_limit(client: Client) -> None:
    bomb = zlib.compress(bytes(500_000))
    assert len(bomb) < LIMIT
    assert await send(client, bomb, "deflate") == (413, {"code": "body_too_large"})


async def test_a_body_that_nobody_reads_is_not_decompressed(client: Client) -> None:
    response = await client.post("/ignored", data=BOMB, headers={"Content-Encoding": "gzip"})
    assert await response.json() == {"decompressed": False}


async def test_of_a_body_that_is_given_up_nothing_stays_with_the_error(client: Client) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a" * (LIMIT // 2)
        await client.app[TAKEN].wait()
        yield b"more"

    response = await client.post("/given-up", data=parts())
    assert await response.json() == {"kept": 0}

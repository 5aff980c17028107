"""Which bytes are those of a head, whatever pieces they arrive in."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser

from zmartd.http.server.request_head import MAX_HEAD_BYTES, HeadLimitParser, HeadTooLong

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
BODY_BYTES = 3 * MAX_HEAD_BYTES
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % BODY_BYTES


@pytest.fixture
async def parser() -> HeadLimitParser:
    loop = asyncio.get_running_loop()
    return HeadLimitParser(HttpRequestParser(BaseProtocol(loop), loop, 2**20))


def feed(parser: HeadLimitParser, sent: bytes, piece_bytes: int) -> list[str]:
    """The methods of the requests in `sent`, which arrives in pieces."""
    pieces = [sent[start : start + piece_bytes] for start in range(0, len(sent), piece_bytes)]
    return [head.method for piece in pieces for head, _ in parser.feed_data(piece)[0]]


@pytest.mark.parametrize("piece_bytes", [1_000, MAX_HEAD_BYTES + 1, BODY_BYTES // 2 + 30, BODY_BYTES])
async def test_bodies_do_not_count_as_heads(parser: HeadLimitParser, piece_bytes: int) -> None:
    assert feed(parser, (POST + b"a" * BODY_BYTES + GET) * 3, piece_bytes) == ["POST", "GET"] * 3


@pytest.mark.parametrize("piece_bytes", [100, 1_000, 10**6])
@pytest.mark.parametrize(
    "before", [b"", GET, POST + b"a" * BODY_BYTES], ids=["first", "after GET", "after POST"]
)
async def test_a_head_that_does_not_end_is_refused(
    parser: HeadLimitParser, before: bytes, piece_bytes: int
) -> None:
    if before:
        parser.feed_data(before)
    endless = GET[:-2] + b"".join(b"X-%d: %s\r\n" % (number, b"a" * 3_000) for number in range(6))
    with pytest.raises(HeadTooLong):
        feed(parser, endless, piece_bytes)
    with pytest.raises(HeadTooLong):
        parser.feed_data(b"")

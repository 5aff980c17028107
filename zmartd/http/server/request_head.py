"""A limit on the size of a request's head: its request line and its headers together.

aiohttp limits each line of a head, not the head: 128 lines of 8190 bytes are a megabyte, and take two as
objects. Up to 32 pipelined requests wait on one connection while the response to an earlier one is not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs
from aiohttp.http_exceptions import BadHttpMessage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from aiohttp.http_parser import HttpParser, RawRequestMessage
    from aiohttp.streams import StreamReader

MAX_HEAD_BYTES = 16_384
"""The default of Node.js (`--max-http-header-size`)."""
MAX_HEADERS = 64
"""Browsers send about twenty, proxies add ten. The limit also holds for the trailers of a chunked body."""


class HeadTooLong(BadHttpMessage):
    """The head is longer than MAX_HEAD_BYTES. `origin`: its Origin, if it was complete and has one."""

    def __init__(self, origin: str | None = None) -> None:
        super().__init__(f"a head of more than {MAX_HEAD_BYTES} bytes")
        self.origin = origin


class NotAPath(BadHttpMessage):
    """The target of the request is no path, such as `*`, or the host and port of CONNECT (RFC 9112, 3.2)."""

    def __init__(self) -> None:
        super().__init__("a target without a path")


class HeadLimitParser:
    """Wraps aiohttp's parser and refuses heads that are too long, and targets that no route can take. After a
    head that is too long it parses no more."""

    def __init__(self, parser: HttpParser[Any]) -> None:
        self._parser = parser
        self._unfinished_bytes = 0
        """The bytes received of a head that is not complete."""
        self._body: StreamReader | None = None
        """The body of the last request."""
        self._has_refused = False
        self.message_consumed = parser.message_consumed

    def feed_data(self, data: bytes) -> tuple[Sequence[tuple[RawRequestMessage, StreamReader]], bool, bytes]:
        """As in aiohttp. Raises HeadTooLong, NotAPath."""
        if self._has_refused:
            raise HeadTooLong
        in_body = self._body is not None and not self._body.is_eof()
        parsed = self._parser.feed_data(data)
        longest = 0
        if requests := parsed[0]:
            self._body, self._unfinished_bytes = requests[-1][1], 0
            longest = max(_size(head) for head, _ in requests)
        elif not in_body:
            longest = self._unfinished_bytes = self._unfinished_bytes + len(data)
        if longest > MAX_HEAD_BYTES:
            self._has_refused = True
            raise HeadTooLong(requests[0][0].headers.get(hdrs.ORIGIN) if requests else None)
        if not all(
            head.method != hdrs.METH_CONNECT and head.url.path.startswith("/") for head, _ in requests
        ):
            raise NotAPath
        return parsed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


def _size(head: RawRequestMessage) -> int:
    return len(head.path) + sum(len(name) + len(value) for name, value in head.raw_headers)

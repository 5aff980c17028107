"""How much of a request's head is read: its first line and its headers together.

aiohttp limits the lines of a head, not the head: 128 lines of 8190 bytes are a megabyte, which takes two as
objects. And up to 32 requests wait on one connection while the answer to an earlier one is not taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp.http_exceptions import BadHttpMessage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from aiohttp.http_parser import HttpParser, RawRequestMessage
    from aiohttp.streams import StreamReader

MAX_HEAD_BYTES = 16_384
"""As many as Node.js takes by default (`--max-http-header-size`)."""
MAX_HEADERS = 64
"""Browsers send twenty, proxies add ten. It limits the trailers of a chunked body as well."""


class HeadTooLong(BadHttpMessage):
    """A head of more than MAX_HEAD_BYTES."""

    def __init__(self) -> None:
        super().__init__(f"a head of more than {MAX_HEAD_BYTES} bytes")


class HeadLimit:
    """aiohttp's parser, which refuses heads that are too long. Once it has refused one, it reads no more."""

    def __init__(self, parser: HttpParser[Any]) -> None:
        self._parser = parser
        self._unfinished_bytes = 0
        """What has arrived of a head that has no end yet."""
        self._body: StreamReader | None = None
        """That of the last request."""
        self._has_refused = False
        self.message_consumed = parser.message_consumed

    def feed_data(self, data: bytes) -> tuple[Sequence[tuple[RawRequestMessage, StreamReader]], bool, bytes]:
        """As aiohttp's. Raises HeadTooLong."""
        if self._has_refused:
            raise HeadTooLong
        in_body = self._body is not None and not self._body.is_eof()
        fed = self._parser.feed_data(data)
        longest = 0
        if requests := fed[0]:
            self._body, self._unfinished_bytes = requests[-1][1], 0
            longest = max(_size(head) for head, _ in requests)
        elif not in_body:
            longest = self._unfinished_bytes = self._unfinished_bytes + len(data)
        if longest > MAX_HEAD_BYTES:
            self._has_refused = True
            raise HeadTooLong
        return fed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


def _size(head: RawRequestMessage) -> int:
    return len(head.path) + sum(len(name) + len(value) for name, value in head.raw_headers)

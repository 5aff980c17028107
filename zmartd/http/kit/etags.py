"""Answers with an entity tag: a client that has one already is told so with 304 (RFC 9110, section 13)."""

from __future__ import annotations

from hashlib import blake2b
from typing import Self

from aiohttp import hdrs, web
from msgspec import Struct
from multidict import CIMultiDict

_CACHE_CONTROL = "public, no-cache"
"""Kept by browsers and proxies, but only used after asking whether it has changed."""


class TaggedAnswer(Struct, frozen=True):
    """A body, its strong entity tag, and the headers that go with it."""

    body: bytes
    etag: str
    headers: CIMultiDict[str]

    @classmethod
    def of(cls, body: bytes, content_type: str = "application/json") -> Self:
        etag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
        headers = {hdrs.CONTENT_TYPE: content_type, hdrs.ETAG: etag, hdrs.CACHE_CONTROL: _CACHE_CONTROL}
        return cls(body, etag, CIMultiDict(headers))

    def to(self, request: web.Request) -> web.Response:
        """200 with the body, or 304 where the request names the tag."""
        known = request.headers.get(hdrs.IF_NONE_MATCH)
        if known is not None and _names(known, self.etag):
            return web.Response(status=304, headers=self.headers)
        return web.Response(body=self.body, headers=self.headers)


def _names(known: str, etag: str) -> bool:
    """Whether `If-None-Match` names the tag, by the weak comparison of section 13.1.2."""
    return known.strip() == "*" or any(tag.strip().removeprefix("W/") == etag for tag in known.split(","))

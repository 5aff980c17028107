"""Responses with an entity tag, and 304 for clients that have them already (RFC 9110, section 13)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Self

from aiohttp import hdrs, web
from msgspec import Struct
from multidict import CIMultiDict

_NONE: Mapping[str, str] = MappingProxyType({})
_CACHE_CONTROL = "public, no-cache"
"""Browsers and proxies may store the response, and have to revalidate it before each use."""
_BY_THE_CLOCK = re.compile(rb'"missing_seconds":\d+')
"""What changes in JSON with the clock alone; `opens_at`, which is beside it, says the same for longer."""


class TaggedResponse(Struct, frozen=True):
    """A body, its entity tag, and the headers of the response.

    The tag is weak where the body has something that changes with the clock alone: it stays the same.
    """

    body: bytes
    etag: str
    headers: CIMultiDict[str]

    @classmethod
    def of(
        cls, body: bytes, content_type: str = "application/json", more_headers: Mapping[str, str] = _NONE
    ) -> Self:
        lasting, left_out = _BY_THE_CLOCK.subn(b"", body)
        etag = f'{"W/" if left_out else ""}"{blake2b(lasting, digest_size=12).hexdigest()}"'
        headers: dict[str, str] = {
            hdrs.CONTENT_TYPE: content_type,
            hdrs.ETAG: etag,
            hdrs.CACHE_CONTROL: _CACHE_CONTROL,
        }
        headers |= more_headers
        return cls(body, etag, CIMultiDict(headers))

    def respond_to(self, request: web.Request) -> web.Response:
        """200 with the body, or 304 where the request has the tag in If-None-Match."""
        known = request.headers.get(hdrs.IF_NONE_MATCH)
        if known is not None and _matches(known, self.etag):
            return web.Response(status=304, headers=self.headers)
        return web.Response(body=self.body, headers=self.headers)


def _matches(known: str, etag: str) -> bool:
    """Whether `known`, an If-None-Match, has the tag, by the weak comparison of section 13.1.2."""
    opaque = etag.removeprefix("W/")
    return known.strip() == "*" or any(tag.strip().removeprefix("W/") == opaque for tag in known.split(","))

"""Answers that stay the same as long as the daemon runs."""

from __future__ import annotations

import hashlib

from aiohttp import ETag, hdrs, web

_CACHE_CONTROL = "no-cache"
"""Kept by browsers, but only used after asking whether it has changed."""


class Unchanging:
    """Bytes with the tag by which a client that has them already is told so."""

    def __init__(self, body: bytes, content_type: str) -> None:
        self._body = body
        self._content_type = content_type
        self._etag = hashlib.sha256(body).hexdigest()[:32]

    def answer(self, request: web.Request) -> web.Response:
        """200 with the bytes, or 304."""
        known = {tag.value for tag in request.if_none_match or ()}
        if known & {self._etag, "*"}:
            response = web.Response(status=304)
        else:
            response = web.Response(body=self._body)
            response.headers[hdrs.CONTENT_TYPE] = self._content_type
        response.etag = ETag(self._etag)
        response.headers[hdrs.CACHE_CONTROL] = _CACHE_CONTROL
        return response

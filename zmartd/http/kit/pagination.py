"""What a caller says about the page it wants, on every list that goes on from a place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol, TypeVar

from aiohttp import hdrs, web
from msgspec import Meta, Struct

from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit.codec import json_response
from zmartd.http.kit.place import Cursor, cursor_of, place_of

Place = TypeVar("Place", bound=Struct)

NEXT_CURSOR = "X-Next-Cursor"
Offset = Annotated[int, Meta(ge=0, le=1_000_000, description="a whole number from 0 to 1000000")]
NextCursor = Annotated[Cursor | None, Meta(description="a next_cursor of this list")]
"""A query's `cursor`."""


class PageQuery(Protocol):
    """A query for a page that begins at a count of rows, or better after a place."""

    @property
    def offset(self) -> int: ...
    @property
    def cursor(self) -> Cursor | None: ...


def beginning(query: PageQuery, kind: type[Place]) -> Place | None:
    """The place after which the page begins. Raises InvalidRequest: another list's, or with an offset too."""
    after = place_of(query.cursor, kind)
    if after is not None and query.offset:
        raise InvalidRequest(Problem("cursor", "must be the only one of cursor and offset"))
    return after


def array_response(request: web.Request, rows: Sequence[Struct], following: Struct | None) -> web.Response:
    """`rows` as a bare JSON array, which has no room for a cursor: headers say where the next page begins.

    `X-Next-Cursor` is the cursor, and `Link` (RFC 8288) the same query with it. The link is relative to
    wherever the caller sent the request, whatever proxies are in between.
    """
    response = json_response(rows)
    cursor = cursor_of(following)
    if cursor is not None:
        query = request.rel_url.without_query_params("offset").update_query(cursor=cursor)
        response.headers[NEXT_CURSOR] = cursor
        response.headers[hdrs.LINK] = f'<?{query.raw_query_string}>; rel="next"'
    return response

"""Pagination: the parameters of a page, and the cursors that lead from one page to the next.

A cursor is opaque to clients. It encodes the key after which the next page begins.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Protocol, Self, TypeVar

import msgspec
from aiohttp import hdrs, web
from msgspec import Meta, Raw, Struct

from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit.fields import MEANING, Field
from zmartd.http.kit.operation import JsonResponse

Key = TypeVar("Key", bound=Struct)
NextPage = Annotated[str | None, Meta(description="the `cursor` of the next page; null on the last page")]
PageLength = Annotated[int, Meta(description="the number of items on this page")]

_RULE = "must be a next_cursor of this list"


class Cursor(Field, str):
    """An opaque text. It contains nothing that the page before did not show."""

    FORM: ClassVar[re.Pattern[str]] = re.compile("[A-Za-z0-9_-]{1,600}", re.ASCII)
    schema: ClassVar[dict[str, Any]] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,600}$"}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if not isinstance(raw, str) or not cls.FORM.fullmatch(raw):
            raise ValueError("not a cursor")
        return cls(raw)


def encode_cursor(key: Struct | None) -> str | None:
    """The `next_cursor` for the key after which the next page begins; None on the last page."""
    return None if key is None else urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode()


def decode_cursor(cursor: str | None, kind: type[Key]) -> Key | None:
    """The key in a `cursor`. Raises InvalidRequest for a cursor of another list."""
    if cursor is None:
        return None
    try:
        return msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=kind)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid_cursor() from error


def invalid_cursor() -> InvalidRequest:
    """The error for a cursor of another list, or of the same list in another order."""
    return InvalidRequest(Problem("cursor", _RULE))


_A_PAGE = {MEANING: "The most items on a page."}
Limit = Annotated[
    int, Meta(ge=0, le=100, description="a whole number from 0 to 100", extra_json_schema=_A_PAGE)
]
LongLimit = Annotated[
    int, Meta(ge=0, le=200, description="a whole number from 0 to 200", extra_json_schema=_A_PAGE)
]
NEXT_CURSOR = "X-Next-Cursor"
Offset = Annotated[
    Annotated[int, Meta(ge=0, le=1_000_000)] | None,
    Meta(
        description="a whole number from 0 to 1000000",
        extra_json_schema={MEANING: "How many items come before the page, instead of `cursor`."},
    ),
]
"""The type of a query's `offset`: None, which is 0, where it is not given."""
NextCursor = Annotated[Cursor | None, Meta(description="a next_cursor of this list")]
"""The type of a query's `cursor`."""


class PageQuery(Protocol):
    """A query for a page that begins after a key, or after a number of rows."""

    @property
    def offset(self) -> int | None: ...
    @property
    def cursor(self) -> Cursor | None: ...


def start_key(query: PageQuery, kind: type[Key]) -> Key | None:
    """The key after which the page begins. Raises InvalidRequest also for a cursor with an offset,
    whichever that is."""
    after = decode_cursor(query.cursor, kind)
    if after is not None and query.offset is not None:
        raise InvalidRequest(Problem("cursor", "must be the only one of cursor and offset"))
    return after


def array_response(
    request: web.Request, rows: Sequence[Struct] | Sequence[Raw], next_key: Struct | None
) -> JsonResponse:
    """A page as a bare JSON array, with the cursor of the next page in headers."""
    return JsonResponse(rows, HTTPStatus.OK, next_page_headers(request, next_key))


def next_page_headers(request: web.Request, next_key: Struct | None) -> dict[str, str]:
    """The headers that lead to the next page; none on the last one.

    `X-Next-Cursor` is the cursor. `Link` (RFC 8288) is the query with it, relative to the path of the
    request, so that it is right behind any proxy.
    """
    cursor = encode_cursor(next_key)
    if cursor is None:
        return {}
    query = request.rel_url.without_query_params("offset").update_query(cursor=cursor)
    return {NEXT_CURSOR: cursor, hdrs.LINK: f'<?{query.raw_query_string}>; rel="next"'}

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
from msgspec import Meta, Struct

from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit.fields import Field
from zmartd.http.kit.operation import Answer

Place = TypeVar("Place", bound=Struct)
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


def cursor_of(place: Struct | None) -> str | None:
    """`place` as the `next_cursor` of an answer; None where the list ends."""
    return None if place is None else urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def place_of(cursor: str | None, kind: type[Place]) -> Place | None:
    """The place that a caller's cursor stands for. Raises InvalidRequest for one of another list."""
    if cursor is None:
        return None
    try:
        return msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=kind)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise foreign_cursor() from error


def foreign_cursor() -> InvalidRequest:
    """The refusal of a cursor that belongs to another list, or to the same in another order."""
    return InvalidRequest(Problem("cursor", _RULE))


Limit = Annotated[int, Meta(ge=0, le=100, description="a whole number from 0 to 100")]
LongLimit = Annotated[int, Meta(ge=0, le=200, description="a whole number from 0 to 200")]
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


def array_answer(request: web.Request, rows: Sequence[Struct], following: Struct | None) -> Answer:
    """`rows` as a bare JSON array, which has no room for a cursor: headers say where the next page begins.

    `X-Next-Cursor` is the cursor, and `Link` (RFC 8288) the same query with it. The link is relative to
    wherever the caller sent the request, whatever proxies are in between.
    """
    cursor = cursor_of(following)
    if cursor is None:
        return Answer(rows, HTTPStatus.OK)
    query = request.rel_url.without_query_params("offset").update_query(cursor=cursor)
    return Answer(
        rows,
        HTTPStatus.OK,
        {NEXT_CURSOR: cursor, hdrs.LINK: f'<?{query.raw_query_string}>; rel="next"'},
    )

"""What a caller says about the page it wants, on every list that goes on from a place."""

from __future__ import annotations

from typing import Annotated, Protocol, TypeVar

from msgspec import Meta, Struct

from zmartd.http.errors import InvalidRequest, Problem
from zmartd.http.place import Cursor, place_of

Place = TypeVar("Place", bound=Struct)

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

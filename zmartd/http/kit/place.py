"""Places in lists, as callers hand them back to get the next page: texts that only the daemon can read."""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Any, ClassVar, Self, TypeVar

import msgspec
from msgspec import Meta, Struct

from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit.fields import Field

Place = TypeVar("Place", bound=Struct)
NextPage = Annotated[
    str | None, Meta(description="the `cursor` that leads to the next page; null where the list ends")
]
PageLength = Annotated[int, Meta(description="how many there are on this page")]

_RULE = "must be a next_cursor of this list"


class Cursor(Field, str):
    """Where a page begins. Not secret: it says only what the page before it showed."""

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

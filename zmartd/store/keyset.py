"""Walks through lists that change while somebody reads them, page after page.

A page says where it ended: at the key of its last row, by which the list is sorted and which no other row
has. The next page begins after that key, not at a count of rows. So, whatever is written between two pages:

- No row comes twice.
- Every row comes that was there when the walk began and is still there when the walk gets to its place.
- A row that is written during the walk comes if its place is still ahead, as when an old transaction is found
  late, and not if the walk is past it: what is newer than the first page is on the first page of the next
  walk.

What a lost fork takes from a market and gives back to it has new places, like rows that are written then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

from msgspec import Meta, Struct

Row = TypeVar("Row")
Place = TypeVar("Place")

BigInt = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A part of a key that fits a bigint of Postgres, whoever made it up."""


class Page(Struct, Generic[Row, Place], frozen=True):
    """Some rows of a list, and where the next page begins; None where the list ends."""

    rows: tuple[Row, ...]
    following: Place | None


def cut(rows: Sequence[Row], limit: int, place: Callable[[Row], Place]) -> Page[Row, Place]:
    """The first `limit` of `rows`, which are read up to one row more to see whether the list goes on.

    No page follows an empty one.
    """
    shown = tuple(rows[:limit])
    return Page(shown, place(shown[-1]) if shown and len(rows) > limit else None)

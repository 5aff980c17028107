"""Keyset pagination: pages of lists that change while somebody reads them.

A page ends at a key: the values of its last row by which the list is sorted, and which no other row has. The
next page begins after that key, not at a count of rows. So, whatever is written between two pages:

- No row comes twice.
- Every row comes that was there when the first page was read and is still there when its page is read.
- A row that is written in between comes if it belongs after the last key, as an old transaction that is found
  late, and otherwise not: what is newer than the first page is on the first page of the next reader.

Rows that a reorg removes from a market and adds again have new keys, like rows that are written then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Generic, TypeVar

from msgspec import Meta, Struct

Row = TypeVar("Row")
Key = TypeVar("Key")

BigInt = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A part of a key that fits a bigint of Postgres. Keys come back from clients, who may have made them up."""

_EPOCH = datetime.fromtimestamp(0, UTC)
_MICROSECOND = timedelta(microseconds=1)
_LATEST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


class Page(Struct, Generic[Row, Key], frozen=True):
    """Some rows of a list, and the key after which the next page begins; None where the list ends."""

    rows: tuple[Row, ...]
    next_key: Key | None


def page_of(rows: Sequence[Row], limit: int, key_of: Callable[[Row], Key]) -> Page[Row, Key]:
    """The first `limit` of `rows`, of which one more was read to see whether the list goes on."""
    shown = tuple(rows[:limit])
    return Page(shown, key_of(shown[-1]) if shown and len(rows) > limit else None)


def to_micros(time: datetime) -> int:
    """A time as microseconds since 1970, the resolution of a timestamp in Postgres."""
    return (time - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The time that many microseconds after 1970. Raises ValueError where it is not from 1970 to 9999."""
    if not 0 <= micros <= _LATEST:
        raise ValueError("not a time from 1970 to 9999")
    return _EPOCH + micros * _MICROSECOND

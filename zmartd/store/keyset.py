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
from typing import Annotated, Any, Generic, TypeVar

from asyncpg import Record
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


class CountedPage(Struct, Generic[Row, Key], frozen=True):
    """A page of a list, and how many rows the list had in the same snapshot."""

    rows: tuple[Row, ...]
    next_key: Key | None
    total: int


def with_total(total: str, page: str, order: str) -> str:
    """SQL: the rows of the statement `page` in this order, each with `total`, from one snapshot.

    Where there are none it gives one row, whose other columns are null; `counted_rows` leaves that out.
    """
    return f"""
select page.*, counted.total
  from (select {total} as total) as counted left join ({page}) as page on true
 {order}
"""  # noqa: S608 - constants, and the numbers of arguments


def counted_rows(found: Sequence[Record]) -> tuple[list[dict[str, Any]], int | None]:
    """The rows of a statement of `with_total`, without the total, and the total."""
    rows = [dict(one) for one in found]
    totals = [one.pop("total") for one in rows]
    is_empty = all(value is None for value in rows[0].values())
    return [] if is_empty else rows, totals[0]


def counted_page_of(
    found: Sequence[Record],
    limit: int,
    row_of: Callable[[dict[str, Any]], Row],
    key_of: Callable[[Row], Key],
) -> CountedPage[Row, Key]:
    """The page that a statement of `with_total` has read, with one row more than `limit`."""
    rows, total = counted_rows(found)
    page = page_of([row_of(row) for row in rows], limit, key_of)
    assert total is not None, "of a list that is counted"
    return CountedPage(page.rows, page.next_key, total)


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

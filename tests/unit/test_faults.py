"""The points at which tests end the process: where they are, and that nothing happens there otherwise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import zmartd
from zmartd.faults import Point, reached, watching

SOURCES = [file.read_text(encoding="utf-8") for file in Path(zmartd.__file__).parent.rglob("*.py")]


@pytest.mark.parametrize("point", list(Point))
def test_each_point_is_at_one_place_of_the_product(point: Point) -> None:
    mark = re.compile(rf"await reached\([^)]*\bPoint\.{point.name}\b")
    assert sum(len(mark.findall(source)) for source in SOURCES) == 1


def test_the_product_never_watches_itself() -> None:
    watchers = [source for source in SOURCES if re.search(r"import .*\bwatching\b|faults\.watching", source)]
    assert watchers == []


async def test_a_point_does_nothing_unless_somebody_watches() -> None:
    passed: list[Point] = []

    async def note(point: Point) -> None:
        passed.append(point)

    await reached(Point.INBOX_READ)
    with watching(note):
        await reached(Point.INBOX_COMMITTED)
        await reached(Point.SENDER_SENT)
    await reached(Point.SENDER_SETTLED)
    assert passed == [Point.INBOX_COMMITTED, Point.SENDER_SENT]


async def test_what_the_watcher_raises_is_raised_at_the_point() -> None:
    async def fail(point: Point) -> None:
        raise ConnectionResetError(point)

    with watching(fail), pytest.raises(ConnectionResetError, match=r"apply\.settled"):
        await reached(Point.APPLY_SETTLED)
    await reached(Point.APPLY_SETTLED)

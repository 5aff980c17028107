from __future__ import annotations

import asyncio

import pytest

from zmartd.http.kit.shared_reads import SharedReads
from zmartd.log import CURRENT_REQUEST_ID


class Source:
    """Each of its readings goes on until it is let end."""

    def __init__(self) -> None:
        self.ends: list[asyncio.Future[None]] = []

    async def read(self) -> int:
        number = len(self.ends)
        self.ends.append(asyncio.get_running_loop().create_future())
        await self.ends[number]
        return number


async def turn() -> None:
    """Let everything happen that waits for nothing."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_all_who_ask_meanwhile_share_the_reading_that_begins_next() -> None:
    reads, source = SharedReads[str, int](), Source()
    first = asyncio.create_task(reads.get("a", source.read))
    await turn()
    others = [asyncio.create_task(reads.get("a", source.read)) for _ in range(5)]
    await turn()
    assert len(source.ends) == 1
    source.ends[0].set_result(None)
    await turn()
    latest = asyncio.create_task(reads.get("a", source.read))
    await turn()
    assert len(source.ends) == 2, "the next one has begun, and the one after it waits"
    source.ends[1].set_result(None)
    await turn()
    source.ends[2].set_result(None)
    assert await asyncio.gather(first, *others, latest) == [0, 1, 1, 1, 1, 1, 2]


async def test_what_is_read_of_another_is_not_shared() -> None:
    reads, source = SharedReads[str, int](), Source()
    asked = [asyncio.create_task(reads.get(key, source.read)) for key in ("a", "b")]
    await turn()
    for end in source.ends:
        end.set_result(None)
    assert await asyncio.gather(*asked) == [0, 1]


async def test_who_leaves_takes_nothing_from_those_who_wait() -> None:
    reads, source = SharedReads[str, int](), Source()
    asked = [asyncio.create_task(reads.get("a", source.read)) for _ in range(3)]
    await turn()
    asked[0].cancel()
    asked[1].cancel()
    await turn()
    source.ends[0].set_result(None)
    await turn()
    source.ends[1].set_result(None)
    assert await asked[2] == 1


async def test_a_reading_that_fails_fails_for_its_callers_alone() -> None:
    reads, source = SharedReads[str, int](), Source()
    failing, next_one = (asyncio.create_task(reads.get("a", source.read)) for _ in range(2))
    await turn()
    source.ends[0].set_exception(ValueError("away"))
    with pytest.raises(ValueError, match="away"):
        await failing
    await turn()
    source.ends[1].set_result(None)
    assert await next_one == 1
    again = asyncio.create_task(reads.get("a", source.read))
    await turn()
    source.ends[2].set_result(None)
    assert await again == 2


async def test_a_reading_logs_the_request_of_the_first_who_asked_for_it() -> None:
    reads, source, ids = SharedReads[str, int](), Source(), list[str]()

    async def read() -> int:
        ids.append(CURRENT_REQUEST_ID.get())
        return await source.read()

    async def ask(request_id: str) -> int:
        CURRENT_REQUEST_ID.set(request_id)
        return await reads.get("a", read)

    asked = [asyncio.create_task(ask(request_id)) for request_id in ("first", "second", "third")]
    for number in range(2):
        await turn()
        source.ends[number].set_result(None)
    assert await asyncio.gather(*asked) == [0, 1, 1]
    assert ids == ["first", "second"]

from __future__ import annotations

import asyncio

import pytest

from zmartd.indexer.group_commit import GroupCommit

CALM_SECONDS = 0.05


class Disk:
    """Records each batch, as slowly as the test lets it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = asyncio.Semaphore(0)
        self.may_finish = asyncio.Semaphore(0)
        self.broken = False

    async def commit(self, batch: list[int]) -> None:
        self.begun.release()
        await self.may_finish.acquire()
        if self.broken:
            raise OSError("the disk is full")
        self.batches.append(batch)

    async def finish_one(self) -> None:
        await self.begun.acquire()
        self.may_finish.release()


@pytest.fixture
def disk() -> Disk:
    return Disk()


def added(group: GroupCommit[int], items: range) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(group.add(item)) for item in items]


async def test_what_arrives_during_a_commit_shares_the_next_one(disk: Disk) -> None:
    group = GroupCommit(disk.commit, max_items=100, burst_items=50, calm_seconds=CALM_SECONDS)
    first = added(group, range(1))
    await disk.begun.acquire()
    others = added(group, range(1, 10))
    disk.may_finish.release()
    await disk.finish_one()
    await asyncio.gather(*first, *others)
    assert disk.batches == [[0], list(range(1, 10))]


async def test_no_commit_takes_more_than_it_may(disk: Disk) -> None:
    group = GroupCommit(disk.commit, max_items=4, burst_items=50, calm_seconds=CALM_SECONDS)
    tasks = added(group, range(6))
    await disk.finish_one()
    await disk.finish_one()
    await asyncio.gather(*tasks)
    assert disk.batches == [[0, 1, 2, 3], [4, 5]]


async def test_a_failed_commit_fails_for_all_its_items_and_the_next_one_is_tried(disk: Disk) -> None:
    group = GroupCommit(disk.commit, max_items=100, burst_items=50, calm_seconds=CALM_SECONDS)
    disk.broken = True
    failing = added(group, range(3))
    await disk.finish_one()
    outcomes = await asyncio.gather(*failing, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["the disk is full"] * 3
    disk.broken = False
    disk.may_finish.release()
    await group.add(7)
    assert disk.batches == [[7]]


async def test_a_few_at_a_time_are_no_burst(disk: Disk) -> None:
    group = GroupCommit(disk.commit, max_items=100, burst_items=8, calm_seconds=CALM_SECONDS)
    first = added(group, range(3))
    await disk.begun.acquire()
    others = added(group, range(3, 7))
    await asyncio.sleep(0)
    disk.may_finish.release()
    await disk.begun.acquire()
    assert group.calm.is_set()
    disk.may_finish.release()
    await asyncio.gather(*first, *others)


async def test_a_burst_lasts_while_many_are_committed_or_wait_and_ends_soon_after_the_last_of_them(
    disk: Disk,
) -> None:
    group = GroupCommit(disk.commit, max_items=100, burst_items=8, calm_seconds=CALM_SECONDS)
    first = added(group, range(1))
    await disk.begun.acquire()
    others = added(group, range(1, 8))  # with the one on its way, they are eight
    await asyncio.sleep(0)
    disk.may_finish.release()
    await disk.begun.acquire()
    assert not group.calm.is_set()
    disk.may_finish.release()
    await asyncio.gather(*first, *others)
    async with asyncio.timeout(120):
        await group.calm.wait()


async def test_a_burst_goes_on_while_those_that_were_answered_together_come_again(disk: Disk) -> None:
    group = GroupCommit(disk.commit, max_items=100, burst_items=8, calm_seconds=3_600)
    for _ in range(3):
        together = added(group, range(8))
        await disk.finish_one()
        await asyncio.gather(*together)
        assert not group.calm.is_set()

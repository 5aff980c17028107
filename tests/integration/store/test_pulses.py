from __future__ import annotations

import asyncio

import pytest

from zmartd.errors import ZmartdError
from zmartd.store import pulses, streams
from zmartd.store.postgres.database import Database
from zmartd.store.pulses import ChainProgress, Pulse

PROGRESS = ChainProgress(newest_slot=105, slot=100, chain_time=1_772_366_400)


async def beat(
    database: Database, interval_seconds: float = 0.0, progress: ChainProgress | None = None
) -> Pulse | None:
    async with database.service() as connection:
        return await pulses.beat(connection, interval_seconds, progress)


async def due(database: Database, interval_seconds: float) -> float | None:
    async with database.service_reader() as connection:
        return await pulses.due(connection, interval_seconds)


async def test_one_of_many_daemons_raises_the_pulse_in_each_interval(database: Database) -> None:
    for number in (1, 2):
        raised = [one for one in await asyncio.gather(*(beat(database, 0.3) for _ in range(8))) if one]
        assert [one.number for one in raised] == [number]
        assert await due(database, 60.0) is None
        await asyncio.sleep(0.35)
        assert await due(database, 0.3) is not None


async def test_a_pulse_is_due_before_the_first_one_and_when_the_clock_was_set_back(
    database: Database,
) -> None:
    assert await due(database, 60.0) == float("inf")
    await beat(database)
    assert await due(database, 60.0) is None
    async with database.service() as connection:
        await connection.execute("update pulses set committed_at = now() + interval '1 hour'")
    assert await due(database, 60.0) is not None
    assert (await beat(database, 60.0)) is not None


async def test_a_pulse_says_how_long_the_chain_and_the_index_have_stood_still(database: Database) -> None:
    first = await beat(database, progress=PROGRESS)
    assert first is not None
    assert (first.number, first.slot, first.chain_time) == (1, 100, 1_772_366_400)
    async with database.service() as connection:
        await connection.execute(
            "update pulses set raised_at = raised_at - interval '9 s', newest_at = newest_at - interval '5 s'"
        )
    unasked, same = await beat(database), await beat(database, progress=PROGRESS)
    behind = await beat(database, progress=ChainProgress(110, 100, 1_772_366_400))
    on = await beat(database, progress=ChainProgress(120, 119, 1_772_366_408))
    for standing in (unasked, same):
        assert standing is not None
        assert (standing.slot, standing.raised_seconds >= 9, standing.newest_seconds >= 5) == (
            100,
            True,
            True,
        )
    assert behind is not None
    assert (behind.slot, behind.raised_seconds >= 9, behind.newest_seconds < 5) == (100, True, True)
    assert on is not None
    assert (on.slot, on.chain_time, on.raised_seconds < 5) == (119, 1_772_366_408, True)


async def test_a_look_at_streams_shows_the_pulse_of_the_same_moment(database: Database) -> None:
    async def look() -> Pulse | None:
        async with database.service_reader() as connection:
            changes = await streams.changes(connection, None)
        assert changes is not None
        return changes.pulse

    assert await look() is None
    raised = await beat(database, progress=PROGRESS)
    assert await look() == raised


@pytest.mark.parametrize("table", ["streams", "stream_messages", "markets"])
async def test_there_is_no_pulse_while_what_is_applied_cannot_be_written(
    database: Database, table: str
) -> None:
    async with database.service() as connection:
        await connection.execute(f"lock table {table} in exclusive mode")
        with pytest.raises((TimeoutError, ZmartdError)):
            async with asyncio.timeout(1.0):
                await beat(database)
    assert await beat(database) is not None

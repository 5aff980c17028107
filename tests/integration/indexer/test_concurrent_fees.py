"""Fee rates that one daemon changes while another applies a trade that they are for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.integration.indexer.beside import beside_each_other
from tests.integration.indexer.story import PROGRAM, Story
from tests.integration.indexer.test_apply import forget
from zmartd.chain.pdas import Pdas
from zmartd.clock import SystemClock
from zmartd.faults import Point
from zmartd.indexer.apply import Indexer
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.realtime.bus import Bus
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store.postgres.database import Database

APPLYING = (Point.APPLY_RECORDED, Point.APPLY_COUNTED, Point.APPLY_APPENDED)
UNDOING = (Point.APPLY_UNDONE, Point.APPLY_APPENDED)
_CHARGED = """
select accumulated_protocol_fees, resolver_fees_earned, lp_fees_earned, total_volume, current_liquidity,
       (select count(*) from trades where not exact) as estimated
  from markets
"""


@pytest.fixture
async def indexer(database: Database, redis_url: str) -> AsyncIterator[Indexer]:
    redis = Redis.from_url(redis_url)
    yield Indexer(database, StreamPublisher(Bus(redis, SystemClock())), Pdas(PROGRAM))
    await redis.aclose()


async def charged(database: Database) -> list[Any]:
    async with database.service() as connection:
        row = await connection.fetchrow(_CHARGED)
    assert row is not None
    return list(row.values())


@pytest.mark.parametrize(
    ("is_undone", "is_held", "point"),
    [
        *((is_undone, "trade", point) for is_undone in (False, True) for point in APPLYING),
        *((False, "fees", point) for point in APPLYING),
        *((True, "fees", point) for point in UNDOING),
    ],
)
@pytest.mark.parametrize("trades", [1, 2])
async def test_a_trade_is_charged_what_was_in_force(
    indexer: Indexer, database: Database, trades: int, is_undone: bool, is_held: str, point: Point
) -> None:
    """Also where the change is taken back; of two trades the index has the first, by which the change finds
    the market."""
    story = Story(seed=11)
    story.create()
    story.open_for_trading()
    story.trade(3)
    story.change_fees(100, 50, 25)
    story.trade(trades)
    trade = story.transactions[-1]
    fees = story.transactions[-1 - trades]
    before = [one for one in story.transactions if one is not trade and (is_undone or one is not fees)]

    async def traded() -> None:
        await indexer.apply([trade])

    async def changed() -> None:
        if is_undone:
            await indexer.roll_back([TransactionInSlot(fees.slot, fees.signature)])
        else:
            await indexer.apply([fees])

    await indexer.apply(before)
    await traded()
    await changed()
    one_after_the_other = await charged(database)
    assert is_undone or one_after_the_other == [*story.fees, story.volume, story.liquidity, 0]
    await forget(database)
    await indexer.apply(before)
    first, second = (traded, changed) if is_held == "trade" else (changed, traded)
    await beside_each_other(first, second, lambda here: here is point)
    assert await charged(database) == one_after_the_other

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from zmartd.indexer.fetch import TransactionDetails, TransactionNotFound
from zmartd.tasks.base import TaskAction
from zmartd.tasks.failure_log import FailureLog
from zmartd.tasks.fan_out import CONCURRENCY, fan_out


async def test_a_market_that_fails_keeps_no_other_from_its_turn_and_the_order_stays() -> None:
    async def step(market_id: str) -> TaskAction | None:
        if market_id == "known trouble":
            raise TransactionNotFound(TransactionDetails("s"))
        if market_id == "a bug":
            raise ZeroDivisionError("secret")
        if market_id == "nothing to tell":
            return None
        return TaskAction(market_id, "settle", ok=True)

    markets = ["first", "known trouble", "nothing to tell", "a bug", "last"]
    actions = await fan_out(markets, "settle", step, FailureLog())

    assert [(action.market_id, action.action, action.ok) for action in actions] == [
        ("first", "settle", True),
        ("known trouble", "settle", False),
        ("a bug", "settle", False),
        ("last", "settle", True),
    ]
    assert actions[1].detail == TransactionNotFound.meaning()
    assert actions[2].detail == "ZeroDivisionError; the log has the traceback"


async def test_only_so_many_markets_are_worked_on_at_once() -> None:
    busy, most = 0, 0

    async def step(market_id: str) -> TaskAction | None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0)
        busy -= 1
        return None

    await fan_out([str(number) for number in range(3 * CONCURRENCY)], "settle", step, FailureLog())
    assert most == CONCURRENCY


async def test_the_traceback_of_a_market_that_fails_each_time_is_told_once() -> None:
    async def step(market_id: str) -> TaskAction | None:
        raise ZeroDivisionError

    failures = FailureLog()
    with capture_logs() as lines:
        for _ in range(3):
            await fan_out(["m", "n"], "settle", step, failures)
    assert [(line["event"], line["market_id"]) for line in lines] == [
        ("task.market_failed", "m"),
        ("task.market_failed", "n"),
    ]

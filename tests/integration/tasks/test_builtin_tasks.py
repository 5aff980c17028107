from __future__ import annotations

import re

from tests.integration.tasks.world import World
from zmartd.market.lifecycle import MarketState
from zmartd.store import leaderboard
from zmartd.tasks.auditor import Auditor
from zmartd.tasks.base import TaskAction
from zmartd.tasks.leaderboard import Leaderboard
from zmartd.tasks.plugins import discover
from zmartd.tasks.reconciler import Reconciler


async def test_the_built_in_tasks_are_plugins_like_any_other(world: World) -> None:
    found = discover(world.own.context(every_seconds=7))
    assert found.broken == ()
    assert [(task.name, task.enabled, task.schedule.timing.text) for task in found.tasks] == [
        ("alerts", True, "every 15 s"),
        ("auditor", True, "every 60 s"),
        ("ipfs_snapshot", False, "every 86400 s"),
        ("leaderboard", True, "every 30 s"),
        ("market_monitor", True, "every 7 s"),
        ("reconciler", True, "every 30 s"),
        ("stream_retention", True, "every 60 s"),
        ("vote_aggregator", True, "every 7 s"),
    ]


async def test_the_reconciler_applies_what_no_webhook_brought_and_then_finds_nothing(world: World) -> None:
    await Reconciler(world.own.context()).run()
    market_id = await world.proposal(indexed=False)

    (repaired,) = await Reconciler(world.own.context(authority=None)).run()

    assert (repaired.market_id, repaired.action, repaired.ok) == (None, "apply_missing", True)
    # Those before it are read again until they are final.
    assert re.fullmatch("1 of [12] transactions were missing, with 1 new events", repaired.detail)
    assert await world.states(market_id) == (MarketState.PROPOSED, MarketState.PROPOSED)
    await world.vote_on_proposal(market_id, yes=1)
    assert await Reconciler(world.own.context()).run() == []


async def test_the_reconciler_tells_what_it_took_back(world: World) -> None:
    await world.cheat("zmartd_advanceSlots", {"slots": 33})
    await Reconciler(world.own.context()).run()
    await world.cheat("zmartd_holdFinality", {"hold": True})
    fork = await world.cheat("getSlot", {"commitment": "processed"})
    await world.proposal()
    assert len(await world.cheat("zmartd_rollback", {"fromSlot": fork})) == 1
    await world.cheat("zmartd_holdFinality", {"hold": False})
    await world.cheat("zmartd_advanceSlots", {"slots": 33})
    assert await Reconciler(world.own.context()).run() == [
        TaskAction(
            None, "roll_back", ok=True, detail="1 transactions are not on the chain, and were rolled back"
        )
    ]


async def test_the_leaderboard_is_published_again_only_when_a_market_changed(world: World) -> None:
    task = Leaderboard(world.own.context(authority=None))
    (first,) = await task.run()
    assert (first.market_id, first.action, first.ok) == (None, "publish", True)
    assert await task.run() == []
    await world.proposal()
    assert len(await task.run()) == 1

    async with world.database.service() as connection:
        newest = await leaderboard.edition(connection)
    now = (await world.own.rpc.chain_time()).unix_timestamp
    assert newest is not None
    assert 0 <= now - newest.as_of.timestamp() < 60


async def test_the_auditor_says_what_it_compared_and_names_what_differs(world: World) -> None:
    market_id = await world.proposal()
    task = Auditor(world.own.context(authority=None))
    (compared,) = await task.run()
    assert (compared.action, compared.ok, compared.routine) == ("compare", True, True)
    assert compared.detail.endswith(
        "1 markets with 1 accounts compared; 0 differences in 1 markets and 2 accounts"
    )
    async with world.database.service() as connection:
        await connection.execute("update markets set total_volume = 7, version = version + 1")
    differs, summary = await task.run()
    address = world.address(market_id)
    assert (differs.action, differs.ok, differs.market_id) == ("audit", False, None)
    assert differs.detail == (
        f"{address} differs from the chain in 1 values (total_volume): `zmartd audit --repair` mends it"
    )
    assert summary.detail.endswith("1 differences in 1 markets and 2 accounts")

"""The task that evaluates the rules, on causes that are real."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from tests.integration.alerts.outbox import age, all_alerts
from tests.integration.store.rows import signature
from tests.integration.tasks.world import AUTHORITY, RESOLVER, World
from zmartd.chain.rpc import Rpc
from zmartd.clock import SystemClock
from zmartd.market.lifecycle import MarketState
from zmartd.schedule import Every, Schedule
from zmartd.store import daemons, finalization_errors, inbox, market_audits, markets, parked, task_ledger
from zmartd.store.alerts import Alert
from zmartd.store.daemons import Vitals
from zmartd.store.market_audits import Audited
from zmartd.store.parked import Unapplied
from zmartd.tasks.alerts import Alerts
from zmartd.tasks.auditor import Auditor
from zmartd.tasks.base import RunReport, TaskAction
from zmartd.tasks.ledger import Entered, TaskLedger

RECONCILER = Entered("reconciler", Schedule(timing=Every(30), catch_up="last"), enabled=True)


def task(world: World, **changed: Any) -> Alerts:
    """The task, as one daemon has it; `changed` are settings of alerts."""
    return Alerts(world.own.context(authority=None, **{"resolve_after_seconds": 0, **changed}))


async def opened(world: World, **changed: Any) -> dict[tuple[str, str], Alert]:
    """The open alerts after an evaluation, and one a minute later."""
    for passed in (0, 60):
        await age(world.database, passed)
        await task(world, **changed).run()
    return {
        (one.rule, one.subject): one for one in await all_alerts(world.database) if one.resolved_at is None
    }


async def test_nothing_is_found_in_a_system_in_which_all_is_well(world: World) -> None:
    assert await opened(world) == {}
    assert await task(world).run() == []


async def test_a_failed_transition_is_an_alert_until_it_succeeds(world: World) -> None:
    market_id = await world.proposal()
    now = datetime.now(UTC)
    async with world.database.service() as connection:
        await finalization_errors.record(
            connection,
            market_id,
            task="market_monitor",
            error_code="BoundedLossExceeded",
            error_message="no",
            now=now,
        )
    found = await opened(world)
    assert set(found) == {("failed_transitions", "")}
    assert f"{market_id} (BoundedLossExceeded)" in found["failed_transitions", ""].summary
    async with world.database.service() as connection:
        await finalization_errors.resolve(connection, market_id, "operator", now)
    assert await opened(world) == {}
    (alert,) = await all_alerts(world.database)
    assert alert.resolved_at is not None


async def test_a_market_that_nobody_finalizes_is_stuck(world: World) -> None:
    market_id = await world.resolving()
    await world.travel(400_000)
    found = await opened(world, chain_skew_seconds=10_000_000)
    assert set(found) == {("stuck_markets", "RESOLVING")}
    assert market_id in found["stuck_markets", "RESOLVING"].summary


async def test_a_market_that_waits_for_an_admin_is_told(world: World) -> None:
    market_id = await world.resolving(resolver=RESOLVER)
    async with world.database.service() as connection:
        await markets.set_settlement(connection, market_id, MarketState.RESOLVING, awaiting_decision=True)
    proposed = await world.proposal()
    async with world.database.service() as connection:
        await markets.set_awaiting_approval(connection, proposed, awaiting=True)
    found = await opened(world)
    assert found["awaiting_decision", ""].value == 2
    assert market_id in found["awaiting_decision", ""].summary
    assert proposed in found["awaiting_decision", ""].summary


async def test_an_authority_that_runs_dry_is_told_by_a_daemon_without_its_key(world: World) -> None:
    lamports = (await world.own.rpc.account(AUTHORITY.pubkey())).lamports  # type: ignore[union-attr]
    found = await opened(world, authority_min_lamports=lamports + 1)
    assert set(found) == {("authority_balance", "")}
    assert found["authority_balance", ""].value == lamports
    assert await opened(world, authority_min_lamports=lamports) == {}


async def test_what_is_set_aside_is_an_alert_for_each_kind(world: World) -> None:
    async with world.database.service() as connection:
        await parked.add(connection, [Unapplied(signature("parked"), 7, "failed", "no")])
        await inbox.add(connection, [inbox.NewDelivery(b"[]", 1)])
        delivery = await connection.fetchval("select id from webhook_inbox")
        await inbox.park(connection, {delivery: "no"}, unreadable=True)
    found = await opened(world)
    assert {subject for rule, subject in found if rule == "parked"} == {"transactions", "deliveries"}
    async with world.database.service() as connection:
        await parked.remove(connection, [signature("parked")])
    assert ("parked", "transactions") not in await opened(world)


async def reconciled(world: World, *actions: TaskAction, ago: float) -> None:
    """A run of the reconciler that ended so many seconds ago, in the ledger."""
    ledger = TaskLedger(world.database, "daemon-a", SystemClock())
    await ledger.enter([RECONCILER])
    step = await ledger.advance(RECONCILER)
    held = step.held if step is not None and step.held else await ledger.begin_by_hand("reconciler")
    now = datetime.now(UTC)
    await ledger.finish(held, RunReport("reconciler", now, now, actions))
    async with world.database.service() as connection:
        await connection.execute(
            "update task_runs set started_at = clock_timestamp() - $2::interval, "
            "finished_at = clock_timestamp() - $2::interval where id = $1",
            held.id,
            timedelta(seconds=ago),
        )


async def test_a_reconciler_that_has_not_run_well_for_long_is_told(world: World) -> None:
    await reconciled(world, ago=590)
    assert await opened(world) == {}
    async with world.database.service() as connection:
        await connection.execute("update task_runs set finished_at = finished_at - interval '20 s'")
    assert set(await opened(world)) == {("reconciler_lag", "runs")}
    await reconciled(world, TaskAction(None, "park", ok=False), ago=5)  # it went on, with something set aside
    assert await opened(world) == {}


async def test_a_webhook_that_is_silent_while_the_reconciler_makes_up_for_it_is_told(world: World) -> None:
    for _ in range(2):
        await reconciled(world, TaskAction(None, "apply_missing", ok=True), ago=30)
    async with world.database.service() as connection:
        await inbox.add(connection, [inbox.NewDelivery(b"[]", 1)])
    async with world.database.service_reader() as reader:
        vitals = Vitals(takes_webhooks=True)
        await daemons.report(reader, uuid4(), "host:1", vitals, up_seconds=1.0, receivers=())
    assert await opened(world) == {}
    async with world.database.service() as connection:
        await connection.execute("update webhook_inbox set received_at = now() - interval '901 s'")
    assert set(await opened(world)) == {("webhook_silent", "")}
    async with world.database.service() as connection:
        await inbox.add(connection, [inbox.NewDelivery(b"[]", 1)])
    assert await opened(world) == {}


async def test_an_instant_without_a_row_is_told_and_one_that_runs_is_not(world: World) -> None:
    ledger = TaskLedger(world.database, "daemon-a", SystemClock(), lease_seconds=600)
    await ledger.enter([RECONCILER])
    await reconciled(world, ago=1)
    async with world.database.service() as connection:
        await connection.execute("update task_schedules set next_due_at = now() - interval '130 s'")
    found = await opened(world)
    assert set(found) == {("unexplained_instants", "reconciler")}
    held = await ledger.begin_by_hand("reconciler")
    assert await opened(world) == {}
    await ledger.give_back(held)
    assert set(await opened(world)) == {("unexplained_instants", "reconciler")}
    # As an operator does with a task that is not installed any more.
    async with world.database.service_reader() as reader:
        await task_ledger.pause(reader, "reconciler", None, "gone", "operator")
    assert await opened(world) == {}


async def test_what_daemons_say_of_themselves_is_added_up(world: World) -> None:
    async with world.database.service_reader() as reader:
        for number in range(2):
            await daemons.report(
                reader,
                uuid4(),
                f"host:{number}",
                Vitals(
                    requests=100,
                    request_errors=10 * number,
                    websockets=15,
                    websockets_lost=10 * number,
                    database_failures=3,
                    redis_failing_seconds=100.0 * number,
                    clock_skew_seconds=-9.0 * number,
                    loop_lag_seconds=9.0 * number,
                    descriptors=99 * number,
                    descriptor_limit=100,
                ),
                up_seconds=1.0,
                receivers=(),
            )
    # 10 of 200 answers, and 10 of 30 connections, are within what is allowed.
    assert set(await opened(world)) == {
        ("database_failures", ""),
        ("redis_failures", ""),
        ("clock_skew", "host:1"),
        ("event_loop_lag", "host:1"),
        ("descriptors", "host:1"),
    }
    assert set(await opened(world, api_errors_bps=499, websocket_lost_bps=3_333)) >= {
        ("api_errors", ""),
        ("websocket_disconnects", ""),
    }
    async with world.database.service() as connection:
        await connection.execute("update daemons set stopped_at = now()")
    assert await opened(world) == {}


async def test_daemons_that_are_started_again_and_again_are_told(world: World) -> None:
    for _ in range(5):
        async with world.database.service_reader() as reader:
            await daemons.report(reader, uuid4(), "host:1", Vitals(), up_seconds=0.0, receivers=())
            await daemons.report(reader, uuid4(), "host:2", Vitals(), up_seconds=0.0, receivers=())
    assert await opened(world, restarts_per_hour=4) == {}
    assert set(await opened(world)) == {("restarts", "host:1"), ("restarts", "host:2")}


async def test_a_chain_whose_clock_is_elsewhere_is_told(world: World) -> None:
    await world.travel(10_000)
    assert set(await opened(world)) == {("chain_clock_skew", "")}


async def test_without_a_node_what_only_it_knows_stays_as_it_was(world: World) -> None:
    await opened(world, authority_min_lamports=10**15)
    evaluated = task(world)
    evaluated._rpc = Rpc("http://127.0.0.1:9", clock=SystemClock(), timeout_seconds=0.2)
    async with evaluated._rpc:
        await evaluated.run()
        await evaluated.run()
    (alert,) = await all_alerts(world.database)
    assert (alert.rule, alert.resolved_at, alert.quiet_since) == ("authority_balance", None, None)
    await task(world).run()
    (alert,) = await all_alerts(world.database)
    assert alert.resolved_at is not None


async def test_a_database_that_is_larger_than_it_may_be_is_told(world: World) -> None:
    assert set(await opened(world, database_max_bytes=1)) == {("database_full", "")}
    assert await opened(world, database_max_bytes=2**50) == {}


async def test_what_an_interrupted_audit_has_found_is_told(world: World) -> None:
    found = Audited(address=str(RESOLVER.pubkey()), version=1, slot=7, differences=2, differing=("state",))
    async with world.database.service_reader() as reader:
        await market_audits.record(reader, found)
    alert = (await opened(world))["audit_differences", ""]
    assert (alert.value, found.address in alert.summary) == (2, True)


async def test_a_market_that_was_not_compared_for_long_is_told_unless_nobody_compares(world: World) -> None:
    market_id = await world.active()
    address = str(world.address(market_id))
    auditor = Auditor(world.own.context(authority=None))
    await auditor.run()

    async def after(seconds: float, **result: Any) -> set[str]:
        """The subjects that are told when so much time has passed since a comparison with this result."""
        async with world.database.service_reader() as reader:
            await market_audits.record(reader, Audited(address=address, version=1, slot=7, **result))
        async with world.database.service() as connection:
            await connection.execute(
                "update market_audits "
                "set failing_since = failing_since - d, moving_since = moving_since - d, "
                "compared_at = compared_at - d from (select make_interval(secs => $1) as d) as passed "
                "where address = $2",
                seconds,
                address,
            )
        found = {subject: one for (rule, subject), one in (await opened(world)).items() if rule}
        assert all(address in one.summary for one in found.values())
        return set(found)

    assert await after(890, failure="no answer") == set()
    assert await after(20, failure="no answer") == {"failing"}
    assert await after(910, moving=True) == {"moving"}
    assert await after(7_190) == set()
    async with world.database.service() as connection:
        await connection.execute(
            "update market_audits set compared_at = compared_at - interval '20 s' where address = $1", address
        )
    alerted = await opened(world)
    assert set(alerted) == {("audit_incomplete", "overdue")}
    entered = Entered("auditor", Schedule(timing=Every(60), catch_up="last"), enabled=True)
    await TaskLedger(world.database, "daemon-a", SystemClock()).enter([entered])
    async with world.database.service_reader() as reader:
        await task_ledger.pause(reader, "auditor", None, "the node moves", "operator")
    assert await opened(world) == {}
    async with world.database.service_reader() as reader:
        await task_ledger.resume(reader, "auditor")
    assert set(await opened(world)) == {("audit_incomplete", "overdue")}
    async with world.database.service() as connection:
        await connection.execute(
            "insert into task_runs (task, status, due_at, last_due_at, instants, reason, finished_at) "
            "values ('auditor', 'skipped', now(), now(), 1, 'disabled', now())"
        )
    assert await opened(world) == {}


async def test_what_the_auditor_finds_is_told_until_it_is_mended(world: World) -> None:
    market_id = await world.active()
    auditor = Auditor(world.own.context(authority=None))
    await auditor.run()
    assert await opened(world) == {}
    async with world.database.service() as connection:
        await connection.execute("update markets set shares_yes = shares_yes + 1, version = version + 1")
    await auditor.run()
    found = await opened(world)
    assert set(found) == {("audit_differences", "")}
    assert str(world.address(market_id)) in found["audit_differences", ""].summary
    async with world.database.service() as connection:
        await connection.execute("update markets set shares_yes = shares_yes - 1, version = version + 1")
    await auditor.run()
    assert await opened(world) == {}

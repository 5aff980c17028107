from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.store.expiry import delete_expired
from tests.integration.tasks.killed import Killed, killed_at, pool
from tests.integration.tasks.ledger_audit import whole_ledger
from tests.integration.tasks.manual_clock import ManualClock
from zmartd.clock import Clock, SystemClock
from zmartd.schedule import CatchUp, Cron, Every, Schedule, Timing
from zmartd.store import task_ledger
from zmartd.store.postgres.database import Database
from zmartd.store.task_ledger import Entry, Held, TaskState
from zmartd.tasks.base import RunReport, TaskAction
from zmartd.tasks.ledger import MAX_DEATHS, Entered, TaskLedger, TaskRuns

DAY = Every(86_400)


def sweep(timing: Timing = DAY, catch_up: CatchUp = "last", *, enabled: bool = True) -> Entered:
    return Entered("sweep", Schedule(timing=timing, catch_up=catch_up), enabled)


def ledger_of(database: Database, daemon: str = "daemon-a", clock: Clock | None = None) -> TaskLedger:
    return TaskLedger(database, daemon, clock or SystemClock())


def report(*actions: TaskAction, failure: str | None = None, skipped: str | None = None) -> RunReport:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    return RunReport("sweep", now, now, actions, skipped, failure, 1)


async def due_at(database: Database, instant: datetime, timing: Timing = DAY) -> None:
    """Enter the task as if its next instant had been this one, e.g. before a long downtime."""
    await ledger_of(database).enter([sweep(timing)])
    async with database.service() as connection:
        await connection.execute("update task_schedules set next_due_at = $1", instant)


async def ago(database: Database, timing: Timing, back: timedelta) -> datetime:
    """The first instant within the time `back` from now, by Postgres's clock."""
    async with database.service_reader() as connection:
        return timing.next_after(await task_ledger.now(connection) - back)


async def state(database: Database) -> TaskState:
    async with database.service_reader() as connection:
        return (await task_ledger.states(connection, ["sweep"]))["sweep"]


async def rows(database: Database) -> list[Entry]:
    """Newest first."""
    async with database.service_reader() as connection:
        return await task_ledger.entries(connection, "sweep", 1_000)


async def begun(ledger: TaskLedger, task: Entered | None = None) -> Held:
    step = await ledger.advance(task or sweep())
    assert step is not None
    assert step.held is not None
    return step.held


async def let_lease_end(database: Database) -> None:
    """As if the daemon that holds the run had died two seconds ago."""
    async with database.service() as connection:
        await connection.execute(
            "update task_runs set lease_until = clock_timestamp() - interval '1 ms' where status = 'running'"
        )


async def test_a_new_task_is_due_at_once_and_its_run_has_the_instant_a_token_and_a_lease(
    database: Database,
) -> None:
    ledger = ledger_of(database)
    await ledger.enter([sweep()])
    first = (await state(database)).next_due_at

    held = await begun(ledger)
    again = await ledger.advance(sweep())

    seen = await state(database)
    assert again is not None
    assert again.held is None
    assert seen.run is not None
    assert (seen.run.due_at, seen.run.daemon, seen.run.attempt) == (first, "daemon-a", 1)
    assert seen.run.fencing_token == held.fencing_token
    assert seen.run.lease_until is not None
    assert timedelta(seconds=1) < seen.run.lease_until - held.started_at <= timedelta(seconds=2.5)
    assert seen.next_due_at == first + timedelta(days=1)


async def test_of_many_daemons_one_has_each_instant(database_url: str, database: Database) -> None:
    timing, instants = Every(60), 30
    first = await ago(database, timing, timedelta(minutes=instants))
    await due_at(database, first, timing)
    task = sweep(timing, "all")

    async def daemon(name: str) -> int:
        """Runs what it gets until nothing is due."""
        had = 0
        async with pool(database_url) as own:
            ledger = ledger_of(own, name)
            while True:
                step = await ledger.advance(task)
                assert step is not None
                if step.held is not None:
                    had += 1
                    assert await ledger.finish(step.held, report())
                elif step.state.run is None and step.state.next_due_at > step.state.now:
                    return had
                else:
                    await asyncio.sleep(0)

    had = await asyncio.gather(*(daemon(f"daemon-{number}") for number in range(5)))

    runs = await whole_ledger(database, "sweep", timing, first)
    assert sum(had) == len(runs) >= instants
    assert {row.status for row in runs} == {"ran"}
    tokens = [row.fencing_token for row in runs]
    assert len(set(tokens)) == len(tokens)


@pytest.mark.parametrize(("catch_up", "status"), [("none", "skipped"), ("last", "caught_up")])
async def test_three_days_without_a_daemon_are_one_row_with_the_reason(
    database: Database, catch_up: CatchUp, status: str
) -> None:
    timing = Every(600)
    first = await ago(database, timing, timedelta(days=3))
    await due_at(database, first, timing)
    ledger, task = ledger_of(database), sweep(timing, catch_up)

    step = await ledger.advance(task)

    assert step is not None
    if catch_up == "last":
        assert step.held is not None
    # Whether the newest one is late depends on when in its ten minutes this test runs.
    runs = int(step.held is not None)
    found = await whole_ledger(database, "sweep", timing, first)
    (stretch,) = [row for row in found if row.status != "running"]
    assert (stretch.due_at, stretch.status) == (first, status)
    assert stretch.instants in (432 - runs, 433 - runs)
    assert stretch.explanation is not None
    assert stretch.explanation.startswith("no daemon ran it in time")


async def test_after_three_days_without_a_daemon_all_instants_are_run_in_order(database: Database) -> None:
    timing = Every(60)
    first = await ago(database, timing, timedelta(days=3))
    await due_at(database, first, timing)
    ledger, task = ledger_of(database), sweep(timing, "all")

    for _ in range(20):
        await ledger.finish(await begun(ledger, task), report())

    found = await whole_ledger(database, "sweep", timing, first)
    assert [row.due_at for row in found] == [first + timedelta(minutes=number) for number in range(20)]


async def test_instants_that_come_while_a_run_goes_on_are_in_one_row(database: Database) -> None:
    timing = Every(0.1)
    ledger, task = ledger_of(database), sweep(timing)
    await ledger.enter([task])
    first = (await state(database)).next_due_at
    held = await begun(ledger, task)
    for _ in range(5):
        before = (await state(database)).next_due_at
        while (await state(database)).next_due_at == before:
            await ledger.advance(task)
    await ledger.finish(held, report())

    found = await whole_ledger(database, "sweep", timing, first)

    (overlapped,) = [row for row in found if row.reason == "overlap"]
    assert overlapped.instants >= 5
    assert overlapped.explanation is not None
    assert overlapped.explanation.startswith("the run of ")


async def test_a_run_whose_lease_has_ended_goes_on_elsewhere_and_its_old_holder_has_it_no_more(
    database: Database,
) -> None:
    dead, other = ledger_of(database, "dead"), ledger_of(database, "other")
    await dead.enter([sweep()])
    held = await begun(dead)
    run = (await state(database)).run
    assert run is not None
    assert await other.take_over("sweep", run) is None  # the lease has not ended

    await let_lease_end(database)
    taken = await other.take_over("sweep", run)

    assert taken is not None
    assert taken.id == held.id
    assert taken.fencing_token > held.fencing_token
    assert await dead.renew([held]) == set()
    assert await dead.finish(held, report()) is False
    assert await other.renew([taken]) == {taken.id}
    assert await other.finish(taken, report()) is True
    (row,) = await rows(database)
    assert (row.daemon, row.attempt, row.status, row.outcome) == ("other", 2, "ran", "ok")


async def test_of_many_daemons_one_takes_a_run_over(database_url: str, database: Database) -> None:
    ledger = ledger_of(database, "dead")
    await ledger.enter([sweep()])
    await begun(ledger)
    await let_lease_end(database)
    run = (await state(database)).run
    assert run is not None

    taken = await asyncio.gather(
        *(ledger_of(database, f"daemon-{number}").take_over("sweep", run) for number in range(5))
    )

    assert len([one for one in taken if one is not None]) == 1


async def test_a_run_that_is_given_back_goes_on_at_once_and_nobody_has_died(database: Database) -> None:
    ending, other = ledger_of(database, "ending"), ledger_of(database, "other")
    await ending.enter([sweep()])
    held = await begun(ending)
    await ending.give_back(held)
    run = (await state(database)).run
    assert run is not None

    assert await other.take_over("sweep", run) is not None

    after = (await state(database)).run
    assert after is not None
    assert (after.attempt, after.deaths) == (2, 0)


async def test_a_run_in_which_daemon_after_daemon_dies_is_given_up(database: Database) -> None:
    ledger = ledger_of(database)
    await ledger.enter([sweep()])
    await begun(ledger)
    for death in range(MAX_DEATHS):
        await let_lease_end(database)
        run = (await state(database)).run
        assert run is not None
        taken = await ledger.take_over("sweep", run)
        assert (taken is None) == (death == MAX_DEATHS - 1)

    (row,) = await rows(database)
    assert (row.status, row.outcome) == ("ran", "failed")
    assert row.explanation == "given up: 5 daemons ended in the middle of it, the last daemon-a"


async def test_a_run_by_hand_keeps_others_out_and_is_not_repeated_where_it_dies(database: Database) -> None:
    ledger = ledger_of(database)
    await ledger.begin_by_hand("sweep")  # also before a daemon has entered the task
    with pytest.raises(TaskRuns, match="sweep is already running on daemon-a"):
        await ledger.begin_by_hand("sweep")
    await ledger.enter([sweep()])
    await due_at(database, await ago(database, DAY, timedelta(days=1)))
    step = await ledger.advance(sweep())
    assert step is not None
    assert step.held is None

    await let_lease_end(database)
    run = (await state(database)).run
    assert run is not None
    assert await ledger.take_over("sweep", run) is None
    (ended,) = [row for row in await rows(database) if row.due_at is None]
    assert (ended.status, ended.outcome) == ("ran", "failed")
    assert ended.explanation == "daemon-a ended in the middle of it"

    await ledger.begin_by_hand("sweep")
    await let_lease_end(database)
    await ledger.begin_by_hand("sweep")
    assert [row.explanation for row in await rows(database) if row.due_at is None] == [
        None,
        "daemon-a ended in the middle of it; a run by hand followed",
        "daemon-a ended in the middle of it",
    ]


async def test_a_paused_task_is_skipped_with_the_reason_and_runs_again_when_it_is_resumed(
    database: Database,
) -> None:
    timing = Every(60)
    first = await ago(database, timing, timedelta(minutes=3))
    await due_at(database, first, timing)
    ledger, task = ledger_of(database), sweep(timing)
    async with database.service_reader() as connection:
        until = await task_ledger.pause(connection, "sweep", None, "the node moves", "ann@desk")
        assert until == datetime.max.replace(tzinfo=UTC)
        assert await task_ledger.pause(connection, "swoop", None, "x", "y") is None

    step = await ledger.advance(task)

    assert step is not None
    assert step.held is None
    assert step.state.is_paused
    (paused,) = await whole_ledger(database, "sweep", timing, first)
    assert (paused.reason, paused.explanation) == ("paused", "paused by ann@desk: the node moves")

    async with database.service_reader() as connection:
        assert await task_ledger.resume(connection, "sweep")
        assert not await task_ledger.resume(connection, "sweep")
    assert not (await state(database)).is_paused
    async with database.service() as connection:  # as if the pause had ended a minute ago
        await connection.execute("update task_schedules set paused_until = next_due_at - interval '1 s'")
        await connection.execute(
            "update task_schedules set next_due_at = next_due_at - interval '1 min', "
            "paused_until = paused_until - interval '1 min'"
        )
        await connection.execute(
            "update task_runs set last_due_at = last_due_at - interval '1 min', instants = instants - 1"
        )
    await begun(ledger, task)
    await whole_ledger(database, "sweep", timing, first)


async def test_a_pause_that_comes_between_a_look_and_the_claim_keeps_the_run_from_beginning(
    database: Database,
) -> None:
    ledger = ledger_of(database)
    await ledger.enter([sweep()])
    seen = await state(database)
    async with database.service_reader() as connection:
        await task_ledger.pause(connection, "sweep", 3_600, "because", "ann")
        following = DAY.next_after(seen.next_due_at)
        assert await task_ledger.advance(
            connection, seen, following, (), run_at=seen.next_due_at, daemon="a", lease_seconds=2.0
        ) == (
            False,
            None,
        )
    assert await rows(database) == []


async def test_instants_of_a_task_that_no_daemon_has_enabled_are_skipped_as_disabled(
    database: Database,
) -> None:
    timing = Every(60)
    first = await ago(database, timing, timedelta(minutes=5))
    await due_at(database, first, timing)
    step = await ledger_of(database).advance(sweep(timing, enabled=False))
    assert step is not None
    assert step.held is None
    (row,) = await whole_ledger(database, "sweep", timing, first)
    assert (row.status, row.reason) == ("skipped", "disabled")
    assert row.instants in (4, 5)


async def test_another_schedule_counts_from_the_next_instant_on_and_leaves_none_out(
    database: Database,
) -> None:
    ledger = ledger_of(database)
    await ledger.enter([sweep(Every(86_400))])
    missed = (await state(database)).next_due_at
    await ledger.enter([sweep(Every(3_600))])
    assert (await state(database)).next_due_at == missed  # it has come, and is not forgotten
    assert (await state(database)).schedule == "every 3600 s"

    await begun(ledger, sweep(Every(3_600)))
    assert (await state(database)).next_due_at <= (await state(database)).now + timedelta(hours=1)
    await ledger.enter([sweep(Cron("0 3 * * *", "Europe/Berlin"))])
    seen = await state(database)
    assert seen.next_due_at == Cron("0 3 * * *", "Europe/Berlin").next_after(seen.now)

    await ledger.enter([sweep(Every(5), enabled=False)])
    assert (await state(database)).schedule == "0 3 * * * Europe/Berlin"


async def test_daemons_of_another_version_keep_to_the_schedule_in_the_ledger(database: Database) -> None:
    first = await ago(database, Every(3_600), timedelta(hours=1))
    await due_at(database, first, Every(3_600))
    await begun(ledger_of(database), sweep(Every(60), "all"))
    assert (await state(database)).next_due_at == first + timedelta(hours=1)


async def test_the_clock_of_a_daemon_decides_nothing(database: Database) -> None:
    clock = ManualClock()
    for off in (-600, 600):
        clock.advance(off)
        ledger = ledger_of(database, clock=clock)
        await ledger.enter([sweep()])
        await ledger.look(["sweep"])
        async with database.service_reader() as connection:
            behind = await task_ledger.now(connection) - ledger.time()
        assert timedelta(0) <= behind < timedelta(seconds=30)
    await begun(ledger)
    step = await ledger.advance(sweep())
    assert step is not None
    assert step.held is None


async def test_a_daemon_killed_at_any_await_leaves_a_ledger_that_others_go_on_with(
    database_url: str, database: Database
) -> None:
    """A whole run, from the look to its end, is killed at its first await, at its second, and so on."""
    timing, first = Every(60), await ago(database, Every(60), timedelta(minutes=200))
    await due_at(database, first, timing)
    task = sweep(timing, "all")

    async def whole_run(ledger: TaskLedger) -> None:
        step = await ledger.advance(task)
        assert step is not None
        assert step.held is not None
        assert await ledger.renew([step.held]) == {step.held.id}
        assert await ledger.finish(step.held, report())

    survivor, awaits = ledger_of(database, "survivor"), 0
    while True:
        awaits += 1
        async with pool(database_url) as own:
            try:
                await killed_at(whole_run(ledger_of(own, f"killed {awaits}")), awaits)
                break
            except Killed:
                pass
        await let_lease_end(database)
        run = (await state(database)).run
        if run is not None:
            taken = await survivor.take_over("sweep", run)
            assert taken is not None
            assert await survivor.finish(taken, report())
        await whole_run(survivor)
    assert awaits > 4

    found = await whole_ledger(database, "sweep", timing, first)
    assert {(row.status, row.outcome) for row in found} == {("ran", "ok")}
    assert max(row.attempt for row in found) == 2


async def test_uneventful_rows_are_kept_for_two_days_and_eventful_ones_for_thirty(database: Database) -> None:
    ledger, task = ledger_of(database), sweep(Every(60), "all")
    await due_at(database, await ago(database, Every(60), timedelta(hours=1)), Every(60))
    did_something = report(TaskAction("m", "sweep", ok=True))
    for one in (report(), did_something, report(failure="no disk"), report(skipped="no key")):
        await ledger.finish(await begun(ledger, task), one)
    found = [(row.outcome, row.explanation) for row in reversed(await rows(database))]
    assert found == [("ok", None), ("ok", None), ("failed", "no disk"), ("skipped", "no key")]
    assert (await rows(database))[2].report["actions"][0]["action"] == "sweep"

    async def aged(days: int) -> list[str | None]:
        async with database.service() as connection:
            await connection.execute(
                "update task_runs set finished_at = clock_timestamp() - $1::interval", timedelta(days=days)
            )
        await delete_expired(database, "task_runs")
        return [row.outcome for row in await rows(database)]

    assert len(await aged(1)) == 4
    assert await aged(3) == ["failed", "ok"]
    assert len(await aged(29)) == 2
    assert await aged(31) == []


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (datetime(2025, 3, 29, tzinfo=UTC), datetime(2025, 3, 31, tzinfo=UTC)),
        (datetime(2025, 10, 25, tzinfo=UTC), datetime(2025, 10, 27, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("expression", ["30 2 * * *", "*/30 * * * *"])
async def test_each_instant_around_a_shift_of_clocks_is_run_once(
    database: Database, since: datetime, until: datetime, expression: str
) -> None:
    timing = Cron(expression, "Europe/Berlin")
    first = timing.next_after(since)
    await due_at(database, first, timing)
    ledger, task = ledger_of(database), sweep(timing, "all")
    while (await state(database)).next_due_at < until:
        await ledger.finish(await begun(ledger, task), report())

    found = await whole_ledger(database, "sweep", timing, first)

    assert len(found) == (2 if expression == "30 2 * * *" else 95)
    assert {row.status for row in found} == {"ran"}


async def test_the_last_run_of_a_task_is_the_same_for_every_daemon(database: Database) -> None:
    timing = Every(60)
    await due_at(database, await ago(database, timing, timedelta(hours=1)), timing)
    ledger, task = ledger_of(database), sweep(timing, "all")
    await ledger.finish(await begun(ledger, task), report(failure="no disk"))
    await begun(ledger, task)
    async with database.service_reader() as connection:
        newest = (await task_ledger.latest_runs(connection, ["sweep", "mop"]))["sweep"]
        ended = await task_ledger.latest_runs(connection, ["sweep", "mop"], ended=True)
    assert (newest.status, newest.outcome) == ("running", None)
    assert [(run.outcome, run.explanation) for run in ended.values()] == [("failed", "no disk")]

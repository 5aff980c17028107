"""What becomes of instants, for states of the ledger that are given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from zmartd.schedule import CatchUp, Cron, Every, Timing
from zmartd.store.task_ledger import Cover, Newest, Prompt, Running, TaskState
from zmartd.tasks.due import DISABLED_AFTER, Plan, plan

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
TEN = Every(10)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def state(now: float, next_due: float = 0, **changed: Any) -> TaskState:
    fields: dict[str, Any] = {
        "task": "sweep",
        "schedule": TEN.text,
        "next_due_at": at(next_due),
        "paused_until": None,
        "paused_because": None,
        "paused_by": None,
        "prompt": None,
        "run": None,
        "newest": None,
        "now": at(now),
    }
    return TaskState(**(fields | changed))


def run(began: float, due: float | None = 0) -> Running:
    due_at = None if due is None else at(due)
    return Running(7, 1, "daemon-a", due_at, at(began), at(began + 2), 1, 0)


def planned(seen: TaskState, catch_up: CatchUp = "last", *, enabled: bool = True) -> Plan | None:
    return plan(seen, TEN, catch_up, enabled=enabled)


def only_cover(step: Plan | None) -> Cover:
    assert step is not None
    assert step.run_at is None
    (cover,) = step.covers
    return cover


@pytest.mark.parametrize("catch_up", ["none", "last", "all"])
def test_an_instant_is_run_when_it_has_come_and_not_before(catch_up: CatchUp) -> None:
    assert planned(state(-0.001), catch_up) is None
    assert planned(state(0), catch_up) == Plan(at(10), run_at=at(0))


def test_of_missed_instants_the_last_is_run_and_makes_up_for_the_others() -> None:
    step = planned(state(95), "last")
    assert step is not None
    assert (step.run_at, step.next_due_at) == (at(90), at(100))
    (cover,) = step.covers
    assert (cover.status, cover.first, cover.last, cover.instants) == ("caught_up", at(0), at(80), 9)


def test_of_missed_instants_all_are_run_one_after_another() -> None:
    assert planned(state(95), "all") == Plan(at(10), run_at=at(0))


def test_of_missed_instants_none_is_run_where_the_task_says_so() -> None:
    step = planned(state(99), "none")
    assert step is not None
    assert step.run_at == at(90)  # nine seconds are not late
    (cover,) = step.covers
    assert (cover.status, cover.reason, cover.instants) == ("skipped", "late", 9)
    late = only_cover(plan(state(59), Every(60), "none", enabled=True))
    assert (late.reason, late.first, late.last, late.instants) == ("late", at(0), at(0), 1)
    assert late.explanation == "no daemon ran it in time, and this task makes up for nothing"


def test_an_instant_that_comes_while_a_run_goes_on_is_skipped_and_names_the_run() -> None:
    cover = only_cover(planned(state(35, next_due=10, run=run(0.1))))
    assert (cover.status, cover.reason, cover.first, cover.last, cover.instants) == (
        "skipped",
        "overlap",
        at(10),
        at(30),
        3,
    )
    assert cover.explanation == "the run of 2026-06-01T12:00:00.000Z went on"
    by_hand = only_cover(planned(state(35, next_due=30, run=run(25, due=None))))
    assert by_hand.explanation == "a run by hand went on, begun at 2026-06-01T12:00:25.000Z by daemon-a"


def test_an_instant_from_before_a_run_waits_until_it_has_ended() -> None:
    assert planned(state(35, next_due=10, run=run(30)), "all") is None


def test_the_instants_of_a_pause_are_skipped_and_those_after_it_are_not() -> None:
    pause: dict[str, Any] = {"paused_because": "the node moves", "paused_by": "ann"}
    cover = only_cover(planned(state(35, paused_until=at(60), **pause)))
    assert (cover.reason, cover.last, cover.instants) == ("paused", at(30), 4)
    assert cover.explanation == "paused by ann: the node moves"
    ended = planned(state(35, paused_until=at(20), **pause))
    assert ended is not None
    assert (only_cover(ended).last, ended.next_due_at) == (at(20), at(30))
    assert planned(state(35, next_due=30, paused_until=at(20), **pause)) == Plan(at(40), run_at=at(30))


def test_a_daemon_that_has_a_task_disabled_leaves_its_instants_to_others_for_a_minute() -> None:
    assert planned(state(59), enabled=False) is None
    cover = only_cover(planned(state(85), enabled=False))
    assert (cover.reason, cover.first, cover.last, cover.instants) == ("disabled", at(0), at(20), 3)


def test_a_row_goes_on_where_it_says_the_same_and_another_one_begins_where_it_does_not() -> None:
    words = "the run of 2026-06-01T12:00:00.000Z went on"
    same = state(25, next_due=20, run=run(0.1), newest=Newest(5, "skipped", "overlap", words))
    assert only_cover(planned(same)).continues == 5
    other = state(
        25, next_due=20, run=run(0.1), newest=Newest(5, "skipped", "overlap", "another run went on")
    )
    assert only_cover(planned(other)).continues is None


def test_a_year_of_a_cron_expression_is_caught_up_in_bounded_steps() -> None:
    minutes = Cron("* * * * *")
    steps, seen = 0, state(86_400 * 365)
    while True:
        step = plan(seen, minutes, "last", enabled=True)
        assert step is not None
        steps += 1
        if step.run_at is not None:
            break
        seen = state(86_400 * 365, (step.next_due_at - NOON).total_seconds())
    assert step.run_at == at(86_400 * 365)
    assert 365 * 1_440 / 1_001 <= steps <= 365 * 1_440 / 1_000 + 1


@given(
    st.lists(st.tuples(st.floats(0, 120), st.booleans(), st.booleans()), max_size=40),
    st.sampled_from(["none", "last", "all"]),
    st.sampled_from([Every(10), Every(0.7), Cron("* * * * *"), Cron("30 2 * * *", "Europe/Berlin")]),
)
def test_every_instant_ends_in_one_row_whatever_happens(
    moments: list[tuple[float, bool, bool]], catch_up: CatchUp, timing: Timing
) -> None:
    now, next_due = NOON, timing.next_after(NOON)
    going_on: Running | None = None
    expected = next_due
    for seconds, ends, enabled in moments:
        now += timedelta(seconds=seconds * (700 if "Berlin" in timing.text else 1))
        going_on = None if ends else going_on
        for _ in range(1_000):
            seen = replace(state(0), run=going_on, next_due_at=next_due, now=now)
            step = plan(seen, timing, catch_up, enabled=enabled)
            if step is None:
                break
            for cover in step.covers:
                assert cover.first == expected
                expected = timing.next_after(cover.last)
            if step.run_at is not None:
                assert going_on is None
                assert step.run_at == expected
                going_on = Running(1, 1, "daemon-a", step.run_at, now, now, 1, 0)
                expected = timing.next_after(step.run_at)
            assert next_due < step.next_due_at == expected
            next_due = expected


def prompted(now: float, at_seconds: float, next_due: float = 300, **changed: Any) -> TaskState:
    return state(now, next_due, prompt=Prompt(at(at_seconds), "a market is due"), **changed)


@pytest.mark.parametrize("catch_up", ["none", "last", "all"])
def test_a_prompt_is_run_between_instants_and_moves_none_of_them(catch_up: CatchUp) -> None:
    assert planned(prompted(5, 4.5), catch_up) == Plan(
        at(300), run_at=at(4.5), answers_prompt=True, prompted_because="a market is due"
    )


def test_a_prompt_waits_for_the_run_that_goes_on() -> None:
    assert planned(prompted(5, 4.5, run=run(1))) is None
    assert planned(prompted(5, 4.5, run=run(1, due=None))) is None


def test_instants_are_skipped_as_before_while_a_prompt_waits() -> None:
    step = planned(prompted(11, 4.5, next_due=10, run=run(1)))
    assert step is not None
    assert (only_cover(step).reason, step.answers_prompt) == ("overlap", False)


@pytest.mark.parametrize("catch_up", ["none", "last", "all"])
def test_the_run_of_an_instant_answers_a_prompt_that_has_come_by_then(catch_up: CatchUp) -> None:
    step = planned(prompted(10.5, 4.5, next_due=10), catch_up)
    assert step is not None
    assert (step.run_at, step.answers_prompt, step.prompted_because) == (at(10), True, None)
    (cover,) = step.covers
    assert (cover.status, cover.first, cover.last, cover.instants) == ("caught_up", at(4.5), at(4.5), 1)
    assert cover.explanation == "the run of 2026-06-01T12:00:10.000Z does it"
    assert cover.prompted_because == "a market is due"


def test_a_prompt_to_a_paused_task_is_skipped_with_the_reason() -> None:
    pause: dict[str, Any] = {"paused_until": at(60), "paused_because": "the node moves", "paused_by": "ann"}
    step = planned(prompted(5, 4.5, **pause))
    assert (only_cover(step).reason, only_cover(step).first) == ("paused", at(4.5))
    assert step is not None
    assert step.answers_prompt
    assert planned(prompted(61, 4.5, **pause)) == Plan(
        at(300), run_at=at(4.5), answers_prompt=True, prompted_because="a market is due"
    )


def test_a_prompt_is_left_to_daemons_with_the_task_enabled_until_there_are_none() -> None:
    seconds = DISABLED_AFTER.total_seconds()
    assert planned(prompted(seconds, 4.5), enabled=False) is None
    step = planned(prompted(seconds + 4.5, 4.5), enabled=False)
    assert only_cover(step).reason == "disabled"


def test_a_prompt_at_the_very_time_of_an_instant_has_another_row() -> None:
    step = planned(prompted(10.5, 10, next_due=10))
    assert step is not None
    assert step.run_at == at(10)
    assert [cover.first - at(10) for cover in step.covers] == [timedelta(microseconds=1)]

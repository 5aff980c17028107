# ruff: noqa: DTZ001 - hypothesis takes bounds without a zone
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmartd.schedule import STRETCH_INSTANTS, Cron, Every, Schedule, Timing, read_timing

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
WRONG: Any = "60"
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


def instants(timing: Timing, after: datetime, number: int) -> list[datetime]:
    found: list[datetime] = []
    for _ in range(number):
        found.append(timing.next_after(found[-1] if found else after))
    return found


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]  # as many as are given


def test_every_daemon_has_the_same_instants_whenever_it_was_started() -> None:
    assert instants(Every(300), NOON + timedelta(seconds=7), 2) == [
        utc(2026, 6, 1, 12, 5),
        utc(2026, 6, 1, 12, 10),
    ]
    assert Every(300).next_after(NOON) == utc(2026, 6, 1, 12, 5)
    assert Every(7).next_after(utc(1970, 1, 1)) == utc(1970, 1, 1, 0, 0, 7)


@given(MOMENTS, st.floats(0.1, 1e6), st.integers(0, 10_000))
def test_a_stretch_has_the_instants_that_come_one_by_one(at: datetime, seconds: float, number: int) -> None:
    timing = Every(seconds)
    until = at + timedelta(seconds=seconds * number)
    stretch = timing.stretch(at, until)
    if stretch is None:
        assert timing.next_after(at) > until
        return
    assert at < stretch.first == timing.next_after(at)
    assert stretch.last <= until < timing.next_after(stretch.last)
    assert (stretch.last - stretch.first) == (stretch.instants - 1) * timedelta(
        microseconds=round(seconds * 1e6)
    )


def test_a_ledger_begins_with_a_due_interval_and_with_the_next_instant_of_a_cron_expression() -> None:
    assert Every(300).first(NOON + timedelta(seconds=7)) == NOON
    assert Cron("0 3 * * *").first(NOON) == utc(2026, 6, 2, 3)


def test_a_job_in_the_hour_that_is_left_out_runs_right_after_the_shift() -> None:
    # Berlin, 29 March 2026: 01:59:59 +01:00 is followed by 03:00 +02:00.
    assert instants(Cron("30 2 * * *", "Europe/Berlin"), utc(2026, 3, 28), 3) == [
        utc(2026, 3, 28, 1, 30),
        utc(2026, 3, 29, 1, 0),
        utc(2026, 3, 30, 0, 30),
    ]


def test_a_job_in_the_hour_that_comes_twice_runs_once() -> None:
    # Berlin, 25 October 2026: 02:59:59 +02:00 is followed by 02:00 +01:00.
    timing = Cron("30 2 * * *", "Europe/Berlin")
    assert instants(timing, utc(2026, 10, 24), 3) == [
        utc(2026, 10, 24, 0, 30),
        utc(2026, 10, 25, 0, 30),
        utc(2026, 10, 26, 1, 30),
    ]
    in_the_second_time = utc(2026, 10, 25, 1, 10)
    assert timing.next_after(in_the_second_time) == utc(2026, 10, 26, 1, 30)


@pytest.mark.parametrize("day", [utc(2026, 3, 29), utc(2026, 10, 25)])
@pytest.mark.parametrize("expression", ["*/10 * * * *", "*/10 2 * * *", "5 * * * *"])
def test_a_job_with_a_star_goes_on_by_the_time_that_passes(day: datetime, expression: str) -> None:
    found = instants(Cron(expression, "Europe/Berlin"), day - timedelta(hours=2), 200)
    assert all(earlier < later for earlier, later in pairwise(found))
    if expression == "*/10 * * * *":
        assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(minutes=10)}
    if expression == "5 * * * *":
        assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(hours=1)}


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["30 2 * * *", "*/20 2,3 * * *", "0 0,3 * * SUN", "15 */6 1 * *", "7 1-3 * * *"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_instants_grow_and_are_the_same_from_wherever_one_looks(
    at: datetime, expression: str, zone: str
) -> None:
    timing = Cron(expression, zone)
    first, second, third = instants(timing, at, 3)
    assert at < first < second < third
    between = first + (second - first) / 2
    assert timing.next_after(between) == second
    stretch = timing.stretch(at, third)
    assert stretch is not None
    assert (stretch.first, stretch.last, stretch.instants) == (first, third, 3)


def test_a_long_stretch_of_a_cron_expression_is_computed_in_bounded_steps() -> None:
    timing = Cron("* * * * *")
    step = timing.stretch(NOON, NOON + timedelta(days=30))
    assert step is not None
    assert (step.instants, step.is_whole) == (STRETCH_INSTANTS, False)
    assert step.last == NOON + timedelta(minutes=STRETCH_INSTANTS)
    rest = timing.stretch(step.last, NOON + timedelta(minutes=STRETCH_INSTANTS + 2))
    assert rest is not None
    assert (rest.instants, rest.is_whole) == (2, True)


@pytest.mark.parametrize(
    "timing",
    [Every(300), Every(0.1), Every(1.5), Cron("*/5 * * * *"), Cron("0 3 * * MON", "Europe/Berlin")],
    ids=lambda timing: timing.text,
)
def test_a_timing_is_read_from_its_text(timing: Timing) -> None:
    assert read_timing(timing.text) == timing


def test_texts_of_timings_are_what_an_operator_would_write() -> None:
    assert Every(300.0).text == "every 300 s"
    assert Every(1.5).text == "every 1.5 s"
    assert Cron("0  3 * * *", "Europe/Berlin").text == "0 3 * * * Europe/Berlin"


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Every(0), "the seconds of `Every` must be from 0.1 to 31536000"),
        (lambda: Every(float("nan")), "the seconds of `Every` must be from 0.1 to 31536000"),
        (lambda: Every(WRONG), "the seconds of `Every` must be a number"),
        (lambda: Cron("* * * *"), "write five fields"),
        (lambda: Cron("0 * * * * *"), "write five fields"),
        (lambda: Cron("61 * * * *"), r"\(Bad minute\)"),
        (lambda: Cron("0 0 30 2 *"), r"\(Bad day-of-month\)"),
        (lambda: Cron("0 0 * * *", "Mars/Olympus"), "write the name of a time zone"),
        (lambda: Cron("0 0 * * *", "../etc/passwd"), "write the name of a time zone"),
        (lambda: Cron("0 0 * * *", ""), "write the name of a time zone"),
        (lambda: Schedule(timing=WRONG), "the timing of a schedule must be `Every` or `Cron`"),
        (lambda: Schedule(timing=Every(9), time_limit_seconds=0), "`time_limit_seconds` must be greater"),
        (lambda: Schedule(timing=Every(9), overlap=WRONG), "`overlap` must be 'skip'"),
        (lambda: Schedule(timing=Every(9), catch_up=WRONG), "`catch_up` must be 'none', 'last' or 'all'"),
    ],
)
def test_what_is_no_schedule_is_refused_with_what_is_expected(make: Any, problem: str) -> None:
    with pytest.raises((ValueError, TypeError), match=problem):
        make()

"""Failures that come again with each run: what is told of them, and when."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.integration.tasks.manual_clock import ManualClock
from zmartd.chain.wire import UndecodableData
from zmartd.tasks import failure_log
from zmartd.tasks.failure_log import FORGOTTEN_SECONDS, PAUSES_SECONDS, FailureLog

Lines = list[MutableMapping[str, Any]]


def raised(why: Callable[[], object]) -> Exception:
    try:
        why()
    except Exception as error:
        return error
    raise AssertionError


def by_zero(number: int) -> Callable[[], object]:
    return lambda: number / 0


def unreadable() -> None:
    raise UndecodableData("3 bytes are no market")


def test_the_traceback_is_told_once_and_then_one_line_ever_less_often() -> None:
    clock = ManualClock()
    failures = FailureLog(clock.monotonic)
    told: list[tuple[float, bool, int]] = []
    began = clock.monotonic()
    while (passed := clock.monotonic() - began) <= 10_000:
        with capture_logs() as lines:
            failures.raised("task.failed", "sweep", raised(by_zero(int(passed))), task="sweep")
        told += [(passed, "exc_info" in line, line["times"]) for line in lines]
        clock.advance(20)
    assert told == [
        (0, True, 1),
        (60, False, 4),
        (360, False, 19),
        (2_160, False, 109),
        (5_760, False, 289),
        (9_360, False, 469),
    ]


def test_a_line_without_the_traceback_says_what_it_is_and_when_the_next_comes() -> None:
    clock = ManualClock()
    failures = FailureLog(clock.monotonic)
    with capture_logs() as lines:
        failures.raised("task.unreadable_market", "m", raised(unreadable), market_id="m")
        clock.advance(PAUSES_SECONDS[0])
        failures.raised("task.unreadable_market", "m", raised(unreadable), market_id="m")
    assert lines[1] == {
        "event": "task.unreadable_market",
        "log_level": "error",
        "market_id": "m",
        "reason": "3 bytes are no market",
        "times": 2,
        "again_in_seconds": PAUSES_SECONDS[1],
    }


def test_other_subjects_kinds_and_places_are_other_failures() -> None:
    failures = FailureLog(ManualClock().monotonic)
    first, again = raised(by_zero(1)), raised(by_zero(2))
    elsewhere, other = raised(lambda: 1 / 0), raised(lambda: int("x"))
    with capture_logs() as lines:
        failures.raised("task.failed", "sweep", first)
        failures.raised("task.failed", "sweep", again)
        failures.raised("task.failed", "other", first)
        failures.raised("task.failed", "sweep", elsewhere)
        failures.raised("task.failed", "sweep", other)
        failures.raised("task.part_failed", "sweep", first)
    assert ["exc_info" in line for line in lines] == [True] * 5


def test_what_is_reported_and_not_raised_is_told_by_its_kind() -> None:
    clock = ManualClock()
    failures = FailureLog(clock.monotonic)
    with capture_logs() as lines:
        for kind in ("refused", "refused", "expired", "refused"):
            failures.reported("task.finalize", "m", kind, detail=kind)
    assert [line["detail"] for line in lines] == ["refused", "expired"]


def test_a_failure_that_was_not_seen_for_long_is_a_new_one() -> None:
    clock = ManualClock()
    failures = FailureLog(clock.monotonic)
    with capture_logs() as lines:
        for _ in range(3):
            failures.raised("task.failed", "sweep", raised(by_zero(1)))
            clock.advance(FORGOTTEN_SECONDS + 1)
    assert [("exc_info" in line, line["times"]) for line in lines] == [(True, 1)] * 3


def test_no_more_failures_are_remembered_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_log, "MAX_FAILURES", 2)
    failures = FailureLog(ManualClock().monotonic)
    with capture_logs() as lines:
        for subject in ("a", "b", "a", "c", "a", "b"):
            failures.raised("task.failed", subject, raised(by_zero(1)), task=subject)
    assert [line["task"] for line in lines] == ["a", "b", "c", "b"]

"""Runs of tasks, read from metrics as /metrics shows them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from zmartd.embedded.demo.task_runs import completed_runs
from zmartd.metrics import Counter
from zmartd.tasks.runner import RUNS


def test_only_runs_of_this_task_that_came_to_their_end_count() -> None:
    registry = CollectorRegistry()
    runs = Counter("zmartd_task_runs", "Runs.", ["task", "outcome"], registry=registry)
    runs.labels("vote_aggregator", "done").inc(3)
    runs.labels("vote_aggregator", "skipped").inc(10)
    runs.labels("market_monitor", "done").inc(20)
    assert completed_runs(generate_latest(registry).decode(), "vote_aggregator") == 3


def test_a_task_that_has_not_run_has_run_no_times() -> None:
    assert completed_runs(generate_latest(CollectorRegistry()).decode(), "vote_aggregator") == 0


def test_it_reads_what_the_daemon_s_task_runner_counts() -> None:
    before = completed_runs(generate_latest().decode(), "a task of this test")
    RUNS.labels("a task of this test", "done").inc()
    assert completed_runs(generate_latest().decode(), "a task of this test") == before + 1

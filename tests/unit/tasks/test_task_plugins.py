from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from typing import Annotated

import pytest
from msgspec import Meta, Struct

from zmartd.probes import TasksFailing, require_working_tasks
from zmartd.schedule import Every, Schedule
from zmartd.store.task_ledger import Entry, Outcome
from zmartd.tasks.base import TaskAction
from zmartd.tasks.plugins import GROUP, Discovered, discover, unloadable


class Sweep:
    """A task as another package would write it."""

    name = "sweep"
    enabled = True
    schedule = Schedule(timing=Every(60))

    def __init__(self, context: object) -> None:
        self.context = context

    async def run(self) -> Sequence[TaskAction]:
        return ()


class BlockingSweep(Sweep):
    def run(self) -> Sequence[TaskAction]:  # type: ignore[override]  # the mistake under test
        return ()


class RestlessSweep(Sweep):
    schedule = 60  # type: ignore[assignment]  # the mistake under test


class UndecidedSweep(Sweep):
    enabled = "no"  # type: ignore[assignment]  # the mistake under test


def crashing(context: object) -> Sweep:
    raise RuntimeError("no such disk")


def plugin(name: str, target: str) -> EntryPoint:
    return EntryPoint(name, target if ":" in target else f"{__name__}:{target}", GROUP)


def discovered(*plugins: EntryPoint, context: object = None) -> Discovered:
    return discover(context, plugins)


def test_a_plugin_gets_the_context_and_becomes_a_task() -> None:
    context = object()
    found = discovered(plugin("sweep", "Sweep"), context=context)
    (task,) = found.tasks
    assert isinstance(task, Sweep)
    assert task.context is context
    assert found.broken == ()


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("no.such.module:Sweep", "ModuleNotFoundError: No module named 'no'"),
        ("NoSuchName", f"AttributeError: module '{__name__}' has no attribute 'NoSuchName'"),
        ("crashing", "RuntimeError: no such disk"),
        ("BlockingSweep", "TypeError: the factory must return a task with an `async def run(self)`"),
        ("RestlessSweep", "TypeError: `schedule` must be a zmartd.schedule.Schedule"),
        ("UndecidedSweep", "TypeError: `enabled` must be True or False"),
        ("GROUP", "TypeError: 'str' object is not callable"),
    ],
)
def test_a_broken_plugin_is_named_and_the_others_still_run(target: str, problem: str) -> None:
    found = discovered(plugin("broken", target), plugin("sweep", "Sweep"))
    assert [task.name for task in found.tasks] == ["sweep"]
    assert [(broken.name, broken.problem) for broken in found.broken] == [("broken", problem)]


def test_plugins_that_cannot_be_imported_are_found_without_a_daemon() -> None:
    broken = unloadable([plugin("a", "no.such.module:Sweep"), plugin("b", "GROUP"), plugin("c", "crashing")])
    assert [(one.name, one.problem) for one in broken] == [
        ("a", "ModuleNotFoundError: No module named 'no'"),
        ("b", "it must name a factory, called with the daemon's context"),
    ]


def test_a_task_must_have_the_name_of_its_entry_point() -> None:
    (broken,) = discovered(plugin("swoop", "Sweep")).broken
    assert broken.problem == "ValueError: the task calls itself 'sweep'; it must have its entry point's name"


def test_two_plugins_of_one_name_are_not_both_run() -> None:
    found = discovered(
        plugin("sweep", "RestlessSweep"), plugin("sweep", "Sweep"), plugin("sweep", "crashing")
    )
    assert [type(task) for task in found.tasks] == [Sweep]
    assert {broken.target for broken in found.broken} == {f"{__name__}:RestlessSweep", f"{__name__}:crashing"}


def test_an_entry_point_that_is_listed_twice_is_one_plugin() -> None:
    found = discovered(plugin("sweep", "Sweep"), plugin("sweep", "Sweep"))
    assert len(found.tasks) == 1
    assert found.broken == ()


def test_a_plugin_that_cannot_be_loaded_is_not_said_to_have_run() -> None:
    broken = discovered(plugin("pulse", "crashing")).broken
    with pytest.raises(TasksFailing) as alone:
        require_working_tasks([ran("sweep")], broken)
    assert alone.value.message == "cannot be loaded: pulse (RuntimeError: no such disk); the log says more"
    with pytest.raises(TasksFailing) as both:
        require_working_tasks([ran("sweep", "failed", "no such disk"), ran("mop", "failed")], broken)
    assert both.value.message == (
        "the last run failed of: sweep (no such disk); cannot be loaded: pulse (RuntimeError: no such disk); "
        "the log says more"
    )
    require_working_tasks([ran("sweep")], ())


def ran(task: str, outcome: Outcome = "ok", explanation: str | None = None) -> Entry:
    """A run that failed as a whole has an explanation; one in which an action failed has not."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Entry(task, "ran", at, at, 1, None, explanation, "daemon-a", 1, 1, at, at, outcome, None)


class Times(Struct, frozen=True):
    times: Annotated[int, Meta(ge=1, description="how often it sweeps")] = 1


class SweepWithSettings(Sweep):
    settings_type = Times

    def __init__(self, context: object, settings: Times) -> None:
        super().__init__(context)
        self.settings = settings


@pytest.mark.parametrize(("table", "times"), [({}, 1), ({"times": 3}, 3), ({"times": "4"}, 4), (None, 1)])
def test_a_plugin_gets_the_settings_of_its_table(table: dict[str, object] | None, times: int) -> None:
    tables = {} if table is None else {"sweep": table}
    (task,) = discover(None, [plugin("sweep", "SweepWithSettings")], tables).tasks
    assert isinstance(task, SweepWithSettings)
    assert task.settings == Times(times)


@pytest.mark.parametrize(
    ("target", "table", "problem"),
    [
        (
            "SweepWithSettings",
            {"times": 0},
            "tasks.sweep.times: 0 does not fit: Expected `int` >= 1. It is how often it sweeps.",
        ),
        ("SweepWithSettings", {"time": 1}, "tasks.sweep.time: there is no such setting; did you mean times?"),
        ("Sweep", {"times": 1}, "tasks.sweep: this task has no settings; remove the table"),
    ],
)
def test_a_mistake_in_the_settings_of_a_plugin_makes_it_broken(
    target: str, table: dict[str, object], problem: str
) -> None:
    tables = {"sweep": table}
    for found in (
        discover(None, [plugin("sweep", target)], tables).broken,
        unloadable([plugin("sweep", target)], tables),
    ):
        assert [one.problem for one in found] == [problem]

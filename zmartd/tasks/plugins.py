"""Periodic tasks are plugins: entry points in the group `zmartd.tasks`, also the built-in ones.

An entry point names a factory that is called with the daemon's `TaskContext`, and returns a `PeriodicTask`
with the entry point's name.

A plugin of another package brings its own configuration: a setting that is not in `zmartd.config` stops the
daemon, be it in zmartd.toml or in a variable that begins with ZMARTD_.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from importlib.metadata import EntryPoint, entry_points
from inspect import iscoroutinefunction
from typing import Final

from msgspec import Struct

from zmartd.log import get_logger
from zmartd.schedule import Schedule
from zmartd.tasks.base import PeriodicTask

log = get_logger(__name__)

GROUP: Final = "zmartd.tasks"


class BrokenPlugin(Struct, frozen=True):
    """A task that cannot run, and why."""

    name: str
    target: str
    """The entry point's value: module:attribute."""
    problem: str


class Discovered(Struct, frozen=True):
    tasks: tuple[PeriodicTask, ...]
    broken: tuple[BrokenPlugin, ...]


def task_names() -> list[str]:
    """The names of all installed tasks, in order; none of them is loaded."""
    return sorted({plugin.name for plugin in entry_points(group=GROUP)})


def discover(context: object, plugins: Iterable[EntryPoint] | None = None) -> Discovered:
    """All installed tasks, by name. `plugins` are entry points to use instead of the installed ones.

    A plugin that cannot be loaded or does not make a task is logged and returned in `broken`: the rest of the
    daemon must not depend on it.
    """
    found = entry_points(group=GROUP) if plugins is None else plugins
    tasks: dict[str, PeriodicTask] = {}
    broken: list[BrokenPlugin] = []
    for plugin in sorted(set(found), key=lambda point: (point.name, point.value)):
        try:
            tasks[plugin.name] = _checked(plugin.load()(context), plugin.name, tasks)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            broken.append(BrokenPlugin(plugin.name, plugin.value, problem))
            log.exception("task.plugin_broken", plugin=plugin.name, target=plugin.value)
    return Discovered(tuple(tasks.values()), tuple(broken))


def unloadable(plugins: Iterable[EntryPoint] | None = None) -> tuple[BrokenPlugin, ...]:
    """The plugins that cannot be imported or are no factories, without a daemon to make tasks for."""
    found = entry_points(group=GROUP) if plugins is None else plugins
    broken = []
    for plugin in sorted(set(found), key=lambda point: (point.name, point.value)):
        problem = None
        try:
            if not callable(plugin.load()):
                problem = "it must name a factory, called with the daemon's context"
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if problem is not None:
            broken.append(BrokenPlugin(plugin.name, plugin.value, problem))
    return tuple(broken)


def _checked(task: PeriodicTask, name: str, taken: Container[str]) -> PeriodicTask:
    """Check at run time what PeriodicTask declares, since no type checker may have seen a plugin."""
    if name in taken:
        raise ValueError("another plugin has the same name; uninstall one of them")
    if not iscoroutinefunction(getattr(task, "run", None)):
        raise TypeError("the factory must return a task with an `async def run(self)`")
    if not isinstance(task.enabled, bool):
        raise TypeError("`enabled` must be True or False")
    if not isinstance(task.schedule, Schedule):
        raise TypeError("`schedule` must be a zmartd.schedule.Schedule")
    if task.name != name:
        raise ValueError(f"the task calls itself {task.name!r}; it must have its entry point's name")
    return task

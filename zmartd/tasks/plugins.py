"""Periodic tasks are plugins: entry points in the group `zmartd.tasks`, also the built-in ones.

An entry point names a factory that is called with the daemon's `TaskContext`, and returns a `PeriodicTask`
with the entry point's name.

A plugin of another package has its settings in a table of zmartd.toml, `[tasks.<name>]`, or in variables
ZMARTD_TASKS_<NAME>_<SETTING>. Its factory names their type, a msgspec Struct, in an attribute
`settings_type`, and is called with them after the context. They are validated as the daemon's own are; a
mistake makes that plugin broken and keeps nothing else from running.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct

from zmartd.config_file import TASK_PLUGINS, read_table
from zmartd.config_values import ConfigError
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.schedule import Schedule
from zmartd.tasks.base import PeriodicTask

log = get_logger(__name__)

GROUP: Final = TASK_PLUGINS
Tables = Mapping[str, Mapping[str, Any]]
"""The settings of plugins as they are written, by the name of the task."""


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


def discover(
    context: object, plugins: Iterable[EntryPoint] | None = None, tables: Tables = MappingProxyType({})
) -> Discovered:
    """All installed tasks, by name. `plugins` are entry points to use instead of the installed ones.

    A plugin that cannot be loaded or does not make a task is logged and returned in `broken`: the rest of the
    daemon must not depend on it.
    """
    found = entry_points(group=GROUP) if plugins is None else plugins
    tasks: dict[str, PeriodicTask] = {}
    broken: list[BrokenPlugin] = []
    for plugin in sorted(set(found), key=lambda point: (point.name, point.value)):
        try:
            tasks[plugin.name] = _checked(_made(plugin, context, tables), plugin.name, tasks)
        except Exception as error:
            broken.append(BrokenPlugin(plugin.name, plugin.value, _problem(error)))
            log.exception("task.plugin_broken", plugin=plugin.name, target=plugin.value)
    return Discovered(tuple(tasks.values()), tuple(broken))


def unloadable(
    plugins: Iterable[EntryPoint] | None = None, tables: Tables = MappingProxyType({})
) -> tuple[BrokenPlugin, ...]:
    """The plugins that cannot be imported, are no factories or have wrong settings, without a daemon to make
    tasks for.
    """
    found = entry_points(group=GROUP) if plugins is None else plugins
    broken = []
    for plugin in sorted(set(found), key=lambda point: (point.name, point.value)):
        problem = None
        try:
            factory = plugin.load()
            if not callable(factory):
                problem = "it must name a factory, called with the daemon's context"
            _settings(factory, plugin.name, tables)
        except Exception as error:
            problem = _problem(error)
        if problem is not None:
            broken.append(BrokenPlugin(plugin.name, plugin.value, problem))
    return tuple(broken)


def _made(plugin: EntryPoint, context: object, tables: Tables) -> PeriodicTask:
    factory = plugin.load()
    task: PeriodicTask = factory(context, *_settings(factory, plugin.name, tables))
    return task


def _settings(factory: object, name: str, tables: Tables) -> tuple[Struct, ...]:
    """What the factory gets beside the context: its settings, if it has any. Raises ConfigError."""
    kind, table, section = getattr(factory, "settings_type", None), tables.get(name), f"tasks.{name}"
    if kind is None:
        if table is not None:
            raise ConfigError([f"{section}: this task has no settings; remove the table"])
        return ()
    if not (isinstance(kind, type) and issubclass(kind, Struct)):
        raise TypeError("`settings_type` must be a msgspec Struct")
    return (read_table(kind, table or {}, section),)


def _problem(error: Exception) -> str:
    if isinstance(error, ZmartdError):
        return error.message.replace("\n", " ")
    return f"{type(error).__name__}: {error}"


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

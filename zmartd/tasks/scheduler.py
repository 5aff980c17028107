"""The times at which tasks run; the runner does each run."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from aiojobs import Scheduler as JobScheduler

from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.tasks.base import PeriodicTask, RunReport
from zmartd.tasks.plugins import BrokenPlugin
from zmartd.tasks.runner import TaskRunner

FIRST_RUN_SECONDS: Final = 1.0
JITTER: Final = 0.05
CANCEL_SECONDS: Final = 5.0


class UnknownTask(ZmartdError):
    """There is no task of that name."""

    code = "unknown_task"


class Scheduler:
    """Runs every enabled task at its interval until it is stopped; runs of one task never overlap."""

    def __init__(
        self,
        tasks: Sequence[PeriodicTask],
        runner: TaskRunner,
        clock: Clock,
        rng: random.Random,
        stop_seconds: float = 10.0,
        *,
        broken: Sequence[BrokenPlugin] = (),
    ) -> None:
        """`stop_seconds` is how long a run in progress may take to finish when the daemon stops.

        `broken` are the plugins of which there is no task.
        """
        self._tasks = {task.name: task for task in tasks}
        self._runner = runner
        self._clock = clock
        self._rng = rng
        self._stop_seconds = stop_seconds
        self._broken = {plugin.name: plugin for plugin in broken if plugin.name not in self._tasks}
        self._reports: dict[str, RunReport] = {}
        self._timers: JobScheduler | None = None
        self._runs: JobScheduler | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tasks."""
        return tuple(self._tasks)

    @property
    def enabled(self) -> tuple[str, ...]:
        """The names of the tasks that run at their interval."""
        return tuple(task.name for task in self._tasks.values() if task.enabled)

    @property
    def broken(self) -> tuple[str, ...]:
        """The names of the plugins that are no tasks, because they cannot be loaded."""
        return tuple(self._broken)

    def reports(self) -> Mapping[str, RunReport]:
        """The last finished run of each task in this process, by name."""
        return MappingProxyType(self._reports)

    async def run_once(self, name: str) -> RunReport:
        """Run a task now, enabled or not. Raises UnknownTask.

        The run of a plugin that cannot be loaded has failed.
        """
        if name in self._broken:
            return self._failed(self._broken[name])
        task = self._tasks.get(name)
        if task is None:
            raise UnknownTask(f"there is no task {name!r}; there are: {', '.join(self._tasks) or 'none'}")
        report = await self._runner.run(task)
        self._reports[name] = report
        return report

    def _failed(self, plugin: BrokenPlugin) -> RunReport:
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        failure = f"the plugin {plugin.target} cannot be loaded: {plugin.problem}"
        return RunReport(plugin.name, started_at=now, finished_at=now, failure=failure)

    async def start(self) -> None:
        self._timers = JobScheduler(limit=None)
        self._runs = JobScheduler(limit=None, close_timeout=CANCEL_SECONDS)
        for task in self._tasks.values():
            if task.enabled:
                await self._timers.spawn(self._repeat(task, self._runs), name=f"timer {task.name}")

    async def stop(self) -> None:
        """Start no more runs; wait for those in progress, then cancel them."""
        if self._timers is None or self._runs is None:
            return
        await self._timers.close()
        await self._runs.wait_and_close(self._stop_seconds)
        self._timers = self._runs = None

    async def _repeat(self, task: PeriodicTask, runs: JobScheduler) -> None:
        """Each run is a job of its own, so that stopping this timer does not cancel it."""
        due_at = self._clock.monotonic() + self._jittered(min(FIRST_RUN_SECONDS, task.interval_seconds))
        while True:
            await self._clock.sleep(max(0.0, due_at - self._clock.monotonic()))
            due_at = self._clock.monotonic() + self._jittered(task.interval_seconds)
            run = await runs.spawn(self.run_once(task.name), name=f"run {task.name}")
            await run.wait()

    def _jittered(self, seconds: float) -> float:
        """Daemons that were started together drift apart instead of competing for the lock every time."""
        return seconds * self._rng.uniform(1 - JITTER, 1 + JITTER)

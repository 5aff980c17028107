"""When this daemon looks at the ledger of tasks, and what it runs; the runner does each run.

A daemon knows when each task is due next, and asks Postgres at that moment if it has the turn. It looks at
all tasks with one statement every ten seconds, a second after another daemon had the turn, and when the
lease of a run elsewhere would end. A run costs three statements, the look, the claim and the report, and two
a second while it goes on.

What this costs idle, with five daemons and ten tasks that are due every 30 s and end at once: 30 looks a
minute of all daemons every ten seconds, 60 statements of 20 runs, and 10 looks of those that did not have a
turn. That is 100 statements a minute at most; 90 were counted.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

import msgspec

from zmartd.cancellation import cancel_all, is_being_cancelled
from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.store.due_moments import DueMoment
from zmartd.store.task_ledger import Held, Running, TaskState
from zmartd.tasks.base import PeriodicTask, RunReport
from zmartd.tasks.due import DISABLED_AFTER
from zmartd.tasks.ledger import Entered, TaskLedger, TaskRuns
from zmartd.tasks.plugins import BrokenPlugin
from zmartd.tasks.runner import TaskRunner
from zmartd.tasks.turns import Turns

log = get_logger(__name__)

LOOK_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 1.0
"""How long after another daemon had the turn, or after an error, this one looks again."""
"""The most steps of deletion at a time; what is left waits for the next time."""
ASIDE_SECONDS: Final = (2.0, 4.0, 8.0)
"""How long this daemon leaves a task to others after it gave a run of it back; the last one from then on. It
is less than LATE_AFTER, as there may be no others.
"""
CLAIM_SECONDS: Final = 2.0
"""How long a claim may take to end when the daemon stops. A run that it begins is given back."""
CANCEL_SECONDS: Final = 7.0
"""How long what was cancelled may take to end, until it is cancelled again."""
_LEDGER: Final = ""
_SOON_SECONDS: Final = 0.02
"""The shortest wait: what is due by the estimate may not be so yet by Postgres's clock."""


class UnknownTask(ZmartdError):
    """There is no task of that name."""

    code = "unknown_task"


def unknown_task(name: str, known: Sequence[str]) -> UnknownTask:
    """The error that names the nearest task that there is."""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return UnknownTask(f"there is no task {name!r}; there are: {', '.join(known) or 'none'}{hint}")


class Scheduler:
    """Runs the instants that this daemon has of every enabled task, until it is stopped."""

    def __init__(
        self,
        tasks: Sequence[PeriodicTask],
        ledger: TaskLedger,
        turns: Turns,
        clock: Clock,
        stop_seconds: float = 10.0,
        *,
        broken: Sequence[BrokenPlugin] = (),
        aside_seconds: Sequence[float] = ASIDE_SECONDS,
    ) -> None:
        """`stop_seconds` is how long a run in progress may take to finish when the daemon stops.

        `broken` are the plugins of which there is no task.
        """
        self._tasks = {task.name: task for task in tasks}
        self._entered = {
            task.name: Entered(task.name, task.schedule, task.enabled) for task in self._tasks.values()
        }
        self._ledger = ledger
        self._turns = turns
        self._runner = TaskRunner(ledger, clock)
        self._clock = clock
        self._stop_seconds = stop_seconds
        self._aside_seconds = aside_seconds
        self._given_back: dict[str, int] = {}
        """How many runs in a row this daemon gave back, by task."""
        self._broken = {plugin.name: plugin for plugin in broken if plugin.name not in self._tasks}
        self._reports: dict[str, RunReport] = {}
        self._states: dict[str, TaskState] = {}
        self._not_before: dict[str, float] = {}
        self._waits_for: dict[str, str] = {}
        """Why the ledger, or an instant of a task, could not be had the last time."""
        self._look_at = float("-inf")
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._watching: asyncio.Task[None] | None = None
        self._attending: dict[str, asyncio.Task[None]] = {}
        self._runs: dict[str, asyncio.Task[RunReport]] = {}
        self._prompting: dict[str, Callable[[], None]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tasks."""
        return tuple(self._tasks)

    @property
    def enabled(self) -> tuple[str, ...]:
        """The names of the tasks that run when they are due."""
        return tuple(task.name for task in self._tasks.values() if task.enabled)

    @property
    def broken(self) -> tuple[str, ...]:
        """The names of the plugins that are no tasks, because they cannot be loaded."""
        return tuple(self._broken)

    def reports(self) -> Mapping[str, RunReport]:
        """The last finished run of each task in this process, by name."""
        return MappingProxyType(self._reports)

    def require_known(self, name: str) -> None:
        """Raises UnknownTask unless there is a task, or a plugin that cannot be loaded, of that name."""
        if name not in self._tasks and name not in self._broken:
            raise unknown_task(name, (*self._tasks, *self._broken))

    async def run_once(self, name: str) -> RunReport:
        """Run a task now, by hand: enabled or not, paused or not. Raises UnknownTask.

        The run of a plugin that cannot be loaded has failed.
        """
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        if name in self._broken:
            plugin = self._broken[name]
            failure = f"the plugin {plugin.target} cannot be loaded: {plugin.problem}"
            return RunReport(name, started_at=now, finished_at=now, failure=failure)
        self.require_known(name)
        task = self._tasks[name]
        asked_at = self._clock.monotonic()
        try:
            held = await self._ledger.begin_by_hand(name)
        except TaskRuns as error:
            return RunReport(name, started_at=now, finished_at=now, skipped=error.message)
        except ZmartdError as error:
            return RunReport(name, started_at=now, finished_at=now, failure=error.message)
        report = await self._runner.run(task, held, asked_at, by_hand=True)
        self._reports[name] = report
        return report

    def watch(self, names: Sequence[str], ended: Callable[[], None]) -> None:
        """`prompt` is used for these tasks: look for prompts of other daemons whenever a run of one of them
        has ended here, and call `ended`, which must neither raise nor block.
        """
        self._prompting.update(dict.fromkeys(names, ended))

    async def prompt(self, moments: Sequence[DueMoment]) -> None:
        """Run the tasks of markets that are due, on one daemon: at once, or after the run that goes on.

        Raises DatabaseUnavailable, DatabaseTimeout, DatabaseNotReady.
        """
        if await self._ledger.prompt(moments):
            self._look_now()

    def know_of(self, names: Iterable[str]) -> None:
        """Tasks that have a prompt or a run on some daemon: follow it, in case that daemon ends before it."""
        for name in names:
            state = self._states.get(name)
            is_known = state is not None and (state.run is not None or state.prompt is not None)
            if name in self._tasks and name not in self._runs and not is_known:
                self._look_now()

    async def start(self) -> None:
        if self._tasks:
            self._watching = asyncio.create_task(self._watch(), name="schedule of tasks")

    async def stop(self) -> None:
        """Begin no more runs; wait for those in progress, then cancel them, and give them back."""
        if self._watching is None:
            return
        self._is_stopping = True
        await cancel_all({self._watching}, CANCEL_SECONDS)
        self._watching = None
        if self._attending:
            await asyncio.wait(self._attending.values(), timeout=CLAIM_SECONDS)
        await cancel_all(set(self._attending.values()), CANCEL_SECONDS)
        if self._runs:
            await asyncio.wait(self._runs.values(), timeout=self._stop_seconds)
        await cancel_all(set(self._runs.values()), CANCEL_SECONDS)

    async def _watch(self) -> None:
        """Look when it is time to, and attend to the tasks that need it. It ends by cancellation only."""
        entered = False
        while not is_being_cancelled():
            try:
                if not entered:
                    await self._ledger.enter(self._entered.values())
                    entered = True
                if self._clock.monotonic() >= self._look_at:
                    self._look_at = self._clock.monotonic() + LOOK_SECONDS  # a prompt may bring it forward
                    self._states = await self._ledger.look(self.names)
                    entered = len(self._states) == len(self._tasks)  # not after a restored backup
                self._waits_for.pop(_LEDGER, None)
            except ZmartdError as error:
                if self._is_new(_LEDGER, error.message):
                    log.warning("task.ledger_unavailable", reason=error.message)
                self._look_again()
            except Exception:
                log.exception("task.ledger_unavailable")
                self._look_again()
            for name, state in self._states.items():
                if self._needs_attention(state) and name not in self._attending:
                    self._spawn_attention(name, state)
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._pause_seconds())

    def _look_again(self) -> None:
        self._look_at = min(self._look_at, self._clock.monotonic() + RETRY_SECONDS)
        self._look_at = max(self._look_at, self._clock.monotonic() + _SOON_SECONDS)

    def _look_now(self) -> None:
        self._look_at = float("-inf")
        self._wake.set()

    def _pause_seconds(self) -> float:
        """Until the next look, instant or end of a lease elsewhere."""
        now, monotonic = self._ledger.time(), self._clock.monotonic()
        pause = self._look_at - monotonic
        for name, state in self._states.items():
            if name in self._attending:
                continue
            for moment in self._moments(state):
                seconds = max(
                    (moment - now).total_seconds(), self._not_before.get(name, monotonic) - monotonic
                )
                pause = min(pause, seconds)
        return max(pause, _SOON_SECONDS)

    def _moments(self, state: TaskState) -> list[datetime]:
        """When this daemon has to do something about the task."""
        moments = []
        run = self._elsewhere(state)
        if run is not None:
            moments.append(run.lease_until or state.now)
        if not self._tasks[state.task].enabled:
            moments.append(state.next_due_at + DISABLED_AFTER)
            if state.prompt is not None:
                moments.append(state.prompt.at + DISABLED_AFTER)
            return moments
        if state.run is None or state.next_due_at > state.run.started_at:
            moments.append(state.next_due_at)
        if state.prompt is not None and state.run is None:
            moments.append(state.prompt.at)
        return moments

    def _elsewhere(self, state: TaskState) -> Running | None:
        """The run of the task on another daemon, which this one would go on with."""
        if state.run is None or state.task in self._runs or not self._tasks[state.task].enabled:
            return None
        return state.run

    def _needs_attention(self, state: TaskState) -> bool:
        if self._clock.monotonic() < self._not_before.get(state.task, float("-inf")):
            return False
        return any(moment <= self._ledger.time() for moment in self._moments(state))

    def _spawn_attention(self, name: str, state: TaskState) -> None:
        attending = asyncio.create_task(self._attend(name, state), name=f"instants of {name}")
        self._attending[name] = attending
        attending.add_done_callback(lambda _: self._attended(name))

    def _attended(self, name: str) -> None:
        self._attending.pop(name, None)
        self._wake.set()

    async def _attend(self, name: str, state: TaskState) -> None:
        """Take over the task's run whose lease has ended, or do what is to be done at its instants."""
        run = self._elsewhere(state)
        try:
            if run is not None and (run.lease_until or state.now) <= self._ledger.time():
                await self._go_on(name, run)
            else:
                await self._advance(name, state)
            self._waits_for.pop(name, None)
        except ZmartdError as error:
            if self._is_new(name, error.message):
                log.warning("task.instant_not_taken", task=name, reason=error.message)
            self._later(name)
        except Exception:
            log.exception("task.instant_not_taken", task=name)
            self._later(name)

    def _is_new(self, waiting: str, reason: str) -> bool:
        """Whether what waits did not wait for the same reason before. It is tried again every second."""
        is_new = self._waits_for.get(waiting) != reason
        self._waits_for[waiting] = reason
        return is_new

    async def _go_on(self, name: str, run: Running) -> None:
        """Look first: the lease was probably renewed."""
        state = (await self._ledger.look([name])).get(name)
        if state is None:
            return
        self._states[name] = state
        if state.run is None or state.run.is_held(state.now):
            return
        if not await self._turns.take(name, f"run {state.run.run_id}/{state.run.fencing_token}"):
            self._later(name)
            return
        asked_at = self._clock.monotonic()
        held = await self._ledger.take_over(name, state.run)
        self._states[name] = msgspec.structs.replace(state, run=None)
        if held is not None:
            log.warning("task.run_taken_over_here", task=name, daemon=run.daemon, attempt=run.attempt + 1)
            await self._begin(name, held, asked_at, None)

    async def _advance(self, name: str, state: TaskState) -> None:
        prompt, occasion = state.prompt, state.next_due_at
        if prompt is not None and occasion > self._ledger.time():
            occasion = prompt.at
        if not await self._turns.take(name, occasion.isoformat()):
            self._later(name)
            return
        step = await self._ledger.advance(self._entered[name])
        if step is None:
            self._states.pop(name, None)  # a look may have replaced them
            self._look_again()
            return
        self._states[name] = step.state
        if step.held is not None:
            await self._begin(name, step.held, step.asked_at, step.run_at)
        elif step.state.next_due_at <= self._ledger.time() or (step.state.prompt and not step.state.run):
            self._later(name)

    def _later(self, name: str) -> None:
        """Another daemon is on it, or nobody could be: look again in a second."""
        soon = self._clock.monotonic() + RETRY_SECONDS
        self._not_before[name] = max(soon, self._not_before.get(name, soon))
        self._look_again()

    async def _begin(self, name: str, held: Held, asked_at: float, due_at: datetime | None) -> None:
        if self._is_stopping or name in self._runs:  # one that has lost its lease and not ended yet
            await self._ledger.give_back(held)
            return
        run = asyncio.create_task(
            self._runner.run(self._tasks[name], held, asked_at, due_at), name=f"run {name}"
        )
        self._runs[name] = run
        run.add_done_callback(lambda ended: self._ended(name, ended))

    def _ended(self, name: str, run: asyncio.Task[RunReport]) -> None:
        if self._runs.get(name) is run:
            del self._runs[name]
        if name in self._states:
            self._states[name] = msgspec.structs.replace(self._states[name], run=None)
        self._wake.set()
        if not run.cancelled():
            error = run.exception()
            if error is not None:
                log.error("task.run_broken", task=name, exc_info=error)
            elif run.result().given_back:
                self._stand_aside(name)
                return
            else:
                self._reports[name] = run.result()
                self._given_back.pop(name, None)
        if name in self._prompting:
            self._look_now()
            self._prompting[name]()

    def _stand_aside(self, name: str) -> None:
        """Leave the task to other daemons for a while, and then see whether they have done it."""
        number = self._given_back.get(name, 0)
        self._given_back[name] = number + 1
        seconds = self._aside_seconds[min(number, len(self._aside_seconds) - 1)]
        self._not_before[name] = self._clock.monotonic() + seconds
        self._look_at = min(self._look_at, self._not_before[name])

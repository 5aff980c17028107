"""What a periodic task is, and the report of a run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from zmartd.errors import ZmartdError
from zmartd.schedule import Schedule


class TaskSkipped(ZmartdError):
    """The task cannot run now."""

    code = "task_skipped"


class TaskAction(Struct, frozen=True):
    """One thing that a run did, or could not do, to a market; None: to no market in particular."""

    market_id: str | None
    action: str
    """What was done, in the task's own words: approve_proposal, finalize_market, catch_up, ..."""
    ok: bool
    detail: str = ""
    signature: str | None = None
    """The transaction that did it, if any."""
    awaits_admin: bool = False
    """Nothing failed, but an admin has to act or to know; this was logged and published when it began."""
    routine: bool = False
    """Every run does this: one that does nothing else is kept in the ledger as briefly as an empty one."""
    times: int = 1
    """How many such things this stands for: a report names only the first of each kind."""

    @property
    def waits(self) -> bool:
        """Whether it is not done because a person has to act first."""
        return not self.ok and self.awaits_admin

    @property
    def failed(self) -> bool:
        return not self.ok and not self.awaits_admin


class RunReport(Struct, frozen=True):
    """One run of one task: it either ran, was skipped, or failed."""

    task: str
    started_at: datetime
    finished_at: datetime
    actions: tuple[TaskAction, ...] = ()
    skipped: str | None = None
    """Why it did not run here, e.g. because another daemon is running the task."""
    failure: str | None = None
    """Why it ended early; the log has the traceback."""
    fencing_token: int | None = None
    """Grows with every run on any daemon; None when there was no run here."""
    given_back: bool = False
    """Whether another daemon goes on with it, because this one's RPC node refuses what the task needs."""

    @property
    def ok(self) -> bool:
        """Whether nothing needs a person's attention."""
        return self.failure is None and all(action.ok for action in self.actions)

    @property
    def failed(self) -> bool:
        """Whether it or one of its actions failed. That a market waits for a person is no failure."""
        return self.failure is not None or any(action.failed for action in self.actions)


class PeriodicTask(Protocol):
    """Work that is done by a schedule.

    A run decides from the state that it reads, never from what an earlier run kept in memory. Repeating it
    changes nothing, and it may be killed at any await. The ledger gives each instant to one daemon, and lets
    another go on where that one dies; a daemon that is frozen for a while may still do one more step.
    """

    @property
    def name(self) -> str:
        """The name in the command line, the metrics and the ledger; the same as the entry point's."""

    @property
    def enabled(self) -> bool:
        """Whether the daemon runs it when it is due. `zmartd tick NAME` runs it in any case."""

    @property
    def schedule(self) -> Schedule:
        """When it runs, for how long at most, and what becomes of instants at which it cannot."""

    async def run(self) -> Sequence[TaskAction]:
        """Do what is due, and return what was done.

        A market that fails becomes an action that is not ok, and does not stop the others. Raises TaskSkipped
        when the task cannot run now; any other exception is a failed run.
        """

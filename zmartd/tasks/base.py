"""What a periodic task is, and what a run of one tells."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from zmartd.errors import ZmartdError


class TaskSkipped(ZmartdError):
    """The task cannot work now."""

    code = "task_skipped"


class Action(Struct, frozen=True):
    """One thing a run did, or could not do, to a market (None: to no market in particular)."""

    market_id: str | None
    action: str
    """A verb of the task's own: approve, finalize, reconcile, ..."""
    ok: bool
    detail: str = ""
    signature: str | None = None
    """The transaction that did it, when there is one."""
    awaits_admin: bool = False
    """Nothing failed, and an admin has something to do or to know: a notice said so when that began."""


class RunReport(Struct, frozen=True):
    """One run of one task. Exactly one of these holds: it ran, it was skipped, or it failed."""

    task: str
    started_at: datetime
    finished_at: datetime
    actions: tuple[Action, ...] = ()
    skipped: str | None = None
    """Why there was nothing for this daemon to do, e.g. that another daemon is at it."""
    failure: str | None = None
    """Why the run ended early; the log has the traceback."""
    fencing_token: int | None = None
    """Grows with every run of the task on any daemon; None when the run never got the lock."""

    @property
    def ok(self) -> bool:
        """Whether nothing needs an operator's eye."""
        return self.failure is None and all(action.ok for action in self.actions)


class PeriodicTask(Protocol):
    """Work that is due again and again.

    A run decides from the state it reads, never from what an earlier run remembered; repeating it changes
    nothing, and it may be killed at any await. The lock around it only saves work.
    """

    @property
    def name(self) -> str:
        """Its name in the CLI, the metrics and the lock: the name of its entry point."""

    @property
    def enabled(self) -> bool:
        """Whether the daemon runs it by itself. `zmartd tick NAME` runs it either way."""

    @property
    def interval_seconds(self) -> float:
        """From the start of one run to the start of the next."""

    async def run(self) -> Sequence[Action]:
        """Do what is due, and tell what was done.

        A market that fails is an action that is not ok, and no reason to leave the others. Raises TaskSkipped
        when the task cannot work at all; any other exception is a failed run.
        """

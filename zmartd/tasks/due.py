"""What becomes of instants that have come: which of them is run, and which are skipped, with the reason."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec
from msgspec import Struct

from zmartd.market.iso_time import iso_time
from zmartd.schedule import CatchUp, Stretch, Timing
from zmartd.store.task_ledger import Cover, Prompt, Reason, Running, TaskState

LATE_AFTER: Final = timedelta(seconds=15)
"""An instant is late when no daemon has taken it within this time: they look at the ledger every ten seconds
at least, and a run that a daemon lost goes on within three.
"""
DISABLED_AFTER: Final = timedelta(seconds=60)
"""A daemon on which a task is disabled leaves its instants to others for this long."""
_NOWHERE_ENABLED: Final = "no daemon that runs has this task enabled"
_MICROSECOND: Final = timedelta(microseconds=1)


class Plan(Struct, frozen=True):
    """How the ledger goes on for one task."""

    next_due_at: datetime
    covers: tuple[Cover, ...] = ()
    run_at: datetime | None = None
    """The instant, or the prompt's time, that is run now."""
    answers_prompt: bool = False
    """Whether the task's prompt is done with."""
    prompted_because: str | None = None
    """Of a run that is for the prompt alone."""


def plan(state: TaskState, timing: Timing, catch_up: CatchUp, *, enabled: bool) -> Plan | None:
    """What a daemon does about the instants that have come by `state.now`, and about the task's prompt; None
    where there is nothing to do.

    A prompt waits while a run goes on, which may have begun too early for it. The next run answers it, also
    where that is for an instant: then both have come.
    """
    step = _plan_instants(state, timing, catch_up, enabled=enabled)
    prompt = state.prompt
    if prompt is None or (step is not None and step.run_at is None):
        return step
    if step is not None:
        assert step.run_at is not None, "said just now"
        done_by = f"the run of {iso_time(step.run_at)} does it"
        return msgspec.structs.replace(
            step, covers=(*step.covers, _of_prompt(timing, prompt, None, done_by)), answers_prompt=True
        )
    if state.is_paused:
        cover = _of_prompt(timing, prompt, "paused", _why_paused(state))
    elif not enabled:
        if prompt.at > state.now - DISABLED_AFTER:
            return None
        cover = _of_prompt(timing, prompt, "disabled", _NOWHERE_ENABLED)
    elif state.run is not None:
        return None
    else:
        at = _beside_instants(prompt.at, timing)
        return Plan(state.next_due_at, (), at, answers_prompt=True, prompted_because=prompt.because)
    return Plan(state.next_due_at, (cover,), answers_prompt=True)


def _of_prompt(timing: Timing, prompt: Prompt, reason: Reason | None, explanation: str) -> Cover:
    at = _beside_instants(prompt.at, timing)
    status: Literal["skipped", "caught_up"] = "caught_up" if reason is None else "skipped"
    return Cover(status, at, at, 1, reason, explanation, prompted_because=prompt.because)


def _beside_instants(at: datetime, timing: Timing) -> datetime:
    """The time of a prompt in the ledger, which has one row for one time."""
    return at if timing.next_after(at - _MICROSECOND) != at else at + _MICROSECOND


def _plan_instants(state: TaskState, timing: Timing, catch_up: CatchUp, *, enabled: bool) -> Plan | None:
    """What becomes of the instants.

    They are taken in order, so each ends in one row. Those in a pause are skipped. Those that come while
    a run goes on are skipped, unless some from before that run still wait: these come first. Of the others
    `catch_up` says which are run.
    """
    if state.next_due_at > state.now:
        return None
    if state.paused_until is not None and state.next_due_at <= state.paused_until:
        stretch = _due(state, timing, min(state.now, state.paused_until))
        return _skipping(state, timing, stretch, "paused", _why_paused(state))
    if not enabled:
        if state.next_due_at > state.now - DISABLED_AFTER:
            return None
        stretch = _due(state, timing, state.now - DISABLED_AFTER)
        return _skipping(state, timing, stretch, "disabled", _NOWHERE_ENABLED)
    if state.run is not None:
        if _waits(state, state.run, catch_up):
            return None
        stretch = _due(state, timing, state.now)
        return _skipping(state, timing, stretch, "overlap", _why_overlap(state.run))
    if catch_up == "all":
        return Plan(timing.next_after(state.next_due_at), run_at=state.next_due_at)
    return _newest_of(state, timing, catch_up, _due(state, timing, state.now))


def _waits(state: TaskState, run: Running, catch_up: CatchUp) -> bool:
    """Whether the next instant came before the run, and is dealt with after it.

    Where not all are caught up, a run has left none behind it; what came while it was begun overlaps it.
    """
    return (catch_up == "all" or run.due_at is None) and state.next_due_at <= run.started_at


def _newest_of(state: TaskState, timing: Timing, catch_up: CatchUp, stretch: Stretch) -> Plan:
    """Run the newest instant, unless it is late and none is caught up."""
    if not stretch.is_whole:  # the newest of them is still to come
        return _passed_over(state, timing, catch_up, stretch)
    if catch_up == "none" and stretch.last < state.now - LATE_AFTER:
        return _passed_over(state, timing, catch_up, stretch)
    following = timing.next_after(stretch.last)
    if stretch.instants == 1:
        return Plan(following, run_at=stretch.last)
    before = _before_last(state, timing, stretch)
    return Plan(following, _passed_over(state, timing, catch_up, before).covers, run_at=stretch.last)


def _passed_over(state: TaskState, timing: Timing, catch_up: CatchUp, stretch: Stretch) -> Plan:
    late = "no daemon ran it in time"
    if catch_up == "none":
        return _skipping(state, timing, stretch, "late", f"{late}, and this task makes up for nothing")
    explanation = f"{late}; the next run makes up for it"
    return _covering(state, timing, Cover("caught_up", *_span(stretch), None, explanation))


def _skipping(state: TaskState, timing: Timing, stretch: Stretch, reason: Reason, explanation: str) -> Plan:
    return _covering(state, timing, Cover("skipped", *_span(stretch), reason, explanation))


def _covering(state: TaskState, timing: Timing, cover: Cover) -> Plan:
    newest = state.newest
    if newest is not None and (newest.status, newest.reason, newest.explanation) == (
        cover.status,
        cover.reason,
        cover.explanation,
    ):
        cover = msgspec.structs.replace(cover, continues=newest.id)
    return Plan(timing.next_after(cover.last), (cover,))


def _span(stretch: Stretch) -> tuple[datetime, datetime, int]:
    return stretch.first, stretch.last, stretch.instants


def _due(state: TaskState, timing: Timing, until: datetime) -> Stretch:
    """The instants from the next one, which has come and may be of an older schedule, until then."""
    more = timing.stretch(state.next_due_at, until)
    if more is None:
        return Stretch(state.next_due_at, state.next_due_at, 1)
    return Stretch(state.next_due_at, more.last, more.instants + 1, more.is_whole)


def _before_last(state: TaskState, timing: Timing, stretch: Stretch) -> Stretch:
    """All of a stretch but its last instant."""
    shorter = _due(state, timing, stretch.last - _MICROSECOND)
    return Stretch(shorter.first, shorter.last, shorter.instants)


def _why_paused(state: TaskState) -> str:
    return f"paused by {state.paused_by}: {state.paused_because}"


def _why_overlap(run: Running) -> str:
    if run.due_at is None:
        return f"a run by hand went on, begun at {iso_time(run.started_at)} by {run.daemon}"
    return f"the run of {iso_time(run.due_at)} went on"

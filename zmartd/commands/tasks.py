"""`zmartd tasks`: when periodic tasks run, why they did not, and how to pause them."""

from __future__ import annotations

import getpass
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from msgspec import Struct

from zmartd.commands.due_moments import Due, Upcoming, upcoming
from zmartd.commands.groups import ListByDefault
from zmartd.commands.options import config_option, json_option, operator_settings
from zmartd.commands.output import print_result, printable, shortened, table
from zmartd.commands.parameters import reason_of, seconds_of_duration
from zmartd.commands.running import run_with_database

if TYPE_CHECKING:
    from asyncpg import Connection

    from zmartd.store.task_ledger import Entry, TaskState

_SHOWN: Final = 10
_UNDONE_SHOWN: Final = 3
_MAX_REASON: Final = 500
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


@click.group(cls=ListByDefault)
def tasks() -> None:
    """List the periodic tasks, explain what became of their instants, pause and resume them."""


class Run(Struct, frozen=True):
    """A run of a task, the last or the one that goes on."""

    due_at: datetime | None
    """The instant that it was for; None for a run by hand."""
    started_at: datetime | None
    finished_at: datetime | None
    daemon: str | None
    attempt: int
    outcome: str | None
    """None while it goes on."""
    explanation: str | None


class Clocks(Struct, frozen=True):
    """What time it is by the clocks that decide what is due."""

    postgres: datetime
    """For instants of schedules."""
    chain: datetime
    """For markets."""


class Pause(Struct, frozen=True):
    until: datetime | None
    """None: until it is resumed."""
    because: str | None
    by: str | None


class Task(Struct, frozen=True):
    """A task, as `zmartd tasks` lists it."""

    task: str
    installed: bool
    schedule: str | None
    """None before a daemon has run with it."""
    next_due_at: datetime | None
    """The next instant of its schedule."""
    due: Due | None
    """The next market that is due for it, before which no instant is waited for."""
    last: Run | None
    paused: Pause | None


class Explanation(Struct, frozen=True):
    """A task with what becomes, and what became, of its instants."""

    task: Task
    next: list[datetime]
    due: list[Due]
    """The next markets that are due for it."""
    rows: list[Entry]
    """The newest first."""


@tasks.command("list")
@config_option
@json_option
def list_tasks(config_path: Path | None, as_json: bool) -> None:
    """Print each task with its schedule, its last run, when it runs next, and whether it is paused."""

    settings = operator_settings(config_path)

    async def read(connection: Connection) -> tuple[list[Task], Clocks]:
        ahead = await upcoming(connection, settings)
        return await _tasks(connection, ahead), await _clocks(connection, ahead)

    found, clocks = run_with_database(settings, read)
    print_result(as_json, found, list_for_people(found, clocks))


@tasks.command("explain")
@click.argument("name")
@config_option
@json_option
def explain(name: str, config_path: Path | None, as_json: bool) -> None:
    """Print the next ten instants of the task NAME, the next markets that are due for it, and what became of
    the last ones, with the reason.
    """
    settings = operator_settings(config_path)

    async def read(connection: Connection) -> tuple[Explanation, Clocks]:
        from zmartd.store import task_ledger

        ahead = await upcoming(connection, settings)
        task = await _named(connection, name, ahead)
        rows = await task_ledger.entries(connection, name, _SHOWN)
        found = Explanation(task, _instants(task), ahead.by_task.get(name, []), rows)
        return found, await _clocks(connection, ahead)

    found, clocks = run_with_database(settings, read)
    print_result(as_json, found, explanation_for_people(found, clocks))


@tasks.command("pause")
@click.argument("name")
@click.option("--because", metavar="TEXT", required=True, help="The reason, which everybody reads who asks.")
@click.option(
    "--for",
    "seconds",
    metavar="TIME",
    callback=lambda context, parameter, text: (
        None if text is None else seconds_of_duration(context, parameter, text)
    ),
    help="How long, like 2h, 90m or 1d; without it until it is resumed.",
)
@config_option
@json_option
def pause(name: str, because: str, seconds: int | None, config_path: Path | None, as_json: bool) -> None:
    """Run the task NAME at none of its instants for a while, on any daemon. A run that goes on ends as usual,
    and `zmartd tick NAME` still runs it.
    """
    reason = reason_of(because, _MAX_REASON)
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    settings = operator_settings(config_path)

    async def write(connection: Connection) -> Task:
        from zmartd.store import task_ledger

        await _named(connection, name, scheduled=True)
        await task_ledger.pause(connection, name, seconds, reason, by)
        return await _named(connection, name, await upcoming(connection, settings))

    paused = run_with_database(settings, write)
    print_result(as_json, paused, f"{name} is {_paused(paused.paused)}")


@tasks.command("resume")
@click.argument("name")
@config_option
@json_option
def resume(name: str, config_path: Path | None, as_json: bool) -> None:
    """Run the task NAME again when it is due. Instants of the pause stay skipped."""
    settings = operator_settings(config_path)

    async def write(connection: Connection) -> tuple[bool, Task]:
        from zmartd.store import task_ledger

        await _named(connection, name, scheduled=True)
        ended = await task_ledger.resume(connection, name)
        return ended, await _named(connection, name, await upcoming(connection, settings))

    ended, task = run_with_database(settings, write)
    text = "runs again when it is due" if ended else "is not paused"
    print_result(as_json, task, f"{name} {text}")


async def _clocks(connection: Connection, ahead: Upcoming) -> Clocks:
    from zmartd.store import task_ledger

    return Clocks(await task_ledger.now(connection), ahead.now)


async def _tasks(connection: Connection, ahead: Upcoming | None = None) -> list[Task]:
    """All installed tasks, and those of the ledger."""
    from zmartd.store import task_ledger
    from zmartd.tasks.plugins import task_names

    installed = task_names()
    names = sorted({*installed, *await task_ledger.registered(connection)})
    states = await task_ledger.states(connection, names)
    latest = await task_ledger.latest_runs(connection, names)
    due = {} if ahead is None else ahead.by_task
    return [
        _task(name, name in installed, states.get(name), latest.get(name), due.get(name, []))
        for name in names
    ]


async def _named(
    connection: Connection, name: str, ahead: Upcoming | None = None, *, scheduled: bool = False
) -> Task:
    """Raises UnknownTask where there is none, or none that a daemon has entered where it has to be."""
    from zmartd.tasks.scheduler import UnknownTask, unknown_task

    found = {task.task: task for task in await _tasks(connection, ahead)}
    if name not in found:
        raise unknown_task(name, list(found))
    if scheduled and found[name].schedule is None:
        raise UnknownTask(f"no daemon has run with the task {name!r} yet: start one first")
    return found[name]


def _task(
    name: str, installed: bool, state: TaskState | None, last: Entry | None, due: Sequence[Due]
) -> Task:
    from zmartd.store.task_ledger import FOREVER

    paused = None
    if state is not None and state.is_paused:
        until = None if state.paused_until == FOREVER else state.paused_until
        paused = Pause(until, state.paused_because, state.paused_by)
    return Task(
        task=name,
        installed=installed,
        schedule=None if state is None else state.schedule,
        next_due_at=None if state is None else state.next_due_at,
        due=due[0] if due else None,
        last=None
        if last is None
        else Run(
            last.due_at,
            last.started_at,
            last.finished_at,
            last.daemon,
            last.attempt,
            last.outcome,
            last.explanation,
        ),
        paused=paused,
    )


def _instants(task: Task) -> list[datetime]:
    """The next ones, from the first that is in no row yet."""
    from zmartd.schedule import read_timing

    if task.schedule is None or task.next_due_at is None:
        return []
    timing, first = read_timing(task.schedule), task.next_due_at

    def following() -> Iterator[datetime]:
        instant = first
        while True:
            yield instant
            instant = timing.next_after(instant)

    return list(islice(following(), _SHOWN))


def list_for_people(found: Sequence[Task], clocks: Clocks) -> str:
    """A line for each task."""
    now = clocks.postgres
    header = ("TASK", "SCHEDULE", "LAST", "RESULT", "DAEMON", "NEXT", "DUE", "")
    rows = []
    for task in found:
        last = task.last
        rows.append(
            (
                task.task,
                task.schedule or "-",
                "-" if last is None or last.started_at is None else _ago(now - last.started_at),
                "-" if last is None else last.outcome or "running",
                "-" if last is None else last.daemon or "-",
                "-" if task.next_due_at is None else _until(task.next_due_at - now),
                "-" if task.due is None else f"{task.due.what} {_until(task.due.at - clocks.chain)}",
                _note(task),
            )
        )
    return table(rows, header=header) or "there are no tasks"


def _note(task: Task) -> str:
    if task.paused is not None:
        return _paused(task.paused)
    if not task.installed:
        return "not installed here"
    return "no daemon has run with it yet" if task.schedule is None else ""


def explanation_for_people(found: Explanation, clocks: Clocks) -> str:
    """The next instants and due markets, and a line for each row of the ledger, newest first."""
    task, now = found.task, clocks.postgres
    lines = [f"{task.task}: {task.schedule or 'no daemon has run with it yet'}"]
    if task.paused is not None:
        lines.append(_paused(task.paused))
    if found.next:
        lines += ["", "next, in UTC"]
        lines.append(
            table(
                (f"  {_time(instant)}", _until(instant - now), _what_comes(task.paused, instant))
                for instant in found.next
            )
        )
    if found.due:
        lines += ["", "due, by the chain's clock"]
        lines.append(
            table(
                (f"  {_time(one.at)}", _until(one.at - clocks.chain), f"{one.what} of {one.market_id}")
                for one in found.due
            )
        )
    if found.rows:
        lines += ["", "last, in UTC"]
        lines.append(table(("", *_row(row)) for row in found.rows))
    return "\n".join(lines)


def _what_comes(paused: Pause | None, instant: datetime) -> str:
    is_in_it = paused is not None and (paused.until is None or instant <= paused.until)
    return "will be skipped: paused" if is_in_it else ""


def _row(row: Entry) -> tuple[str, ...]:
    when = _time(row.due_at or row.started_at)
    if row.instants > 1:
        when = f"{when} to {_time(row.last_due_at)} ({row.instants} instants)"
    said = [text for text in (row.prompted_because, row.explanation or _did(row)) if text]
    return when, _what(row), row.daemon or "", "; ".join(said)


def _did(row: Entry) -> str:
    """What a run did, by the names of its actions; what failed or waits, with the reason."""
    actions = row.report["actions"] if row.report else []
    done: Counter[str] = Counter()
    for action in actions:
        if action["ok"]:
            done[action["action"]] += action.get("times", 1)
    said = [f"{name} ({number})" if number > 1 else name for name, number in done.items()]
    undone = [action for action in actions if not action["ok"]]
    said += [_undone(action) for action in undone[:_UNDONE_SHOWN]]
    more = sum(action.get("times", 1) for action in undone[_UNDONE_SHOWN:])
    if more:
        said.append(f"{more} more that failed or wait")
    return ", ".join(said)


def _undone(action: Mapping[str, Any]) -> str:
    """An action of a report that is not ok, with its market and the reason."""
    about = f" of {shortened(action['market_id'])}" if action["market_id"] else ""
    times = f" ({action['times']})" if action.get("times", 1) > 1 else ""
    how = "waits" if action["awaits_admin"] else "failed"
    return f"{action['action']}{about}{times} {how}: {printable(action['detail'])}"


def _what(row: Entry) -> str:
    by_hand = " by hand" if row.due_at is None and row.daemon is not None else ""
    attempts = f", attempt {row.attempt}" if row.attempt > 1 else ""
    if row.status == "running":
        return f"is running{by_hand}{attempts}"
    if row.status == "ran" and row.started_at is not None and row.finished_at is not None:
        seconds = (row.finished_at - row.started_at).total_seconds()
        return f"ran{by_hand}: {row.outcome} ({seconds:.2f} s{attempts})"
    return f"skipped: {row.reason}" if row.status == "skipped" else "caught up"


def _paused(paused: Pause | None) -> str:
    if paused is None:
        return "not paused"
    until = "until it is resumed" if paused.until is None else f"until {_time(paused.until)}"
    return f"paused {until} by {paused.by}: {paused.because}"


def _time(moment: datetime | None) -> str:
    return "-" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S")


def _ago(passed: timedelta) -> str:
    return f"{_span(passed)} ago"


def _until(ahead: timedelta) -> str:
    return f"in {_span(ahead)}" if ahead > timedelta(0) else "due now"


def _span(length: timedelta) -> str:
    """In its greatest unit, and the next smaller one where there are few of it: 2 min 5 s, 3 h, 12 d."""
    seconds = max(0, round(length.total_seconds()))
    for (unit, name), (smaller, below) in pairwise(_UNITS):
        if seconds >= unit:
            rest = seconds % unit // smaller if seconds < 10 * unit else 0
            return f"{seconds // unit} {name}" + (f" {rest} {below}" if rest else "")
    return f"{seconds} s"

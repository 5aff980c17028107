"""The ledger of periodic tasks: when each is due next, and a row for each instant at which it was due.

Each function is one statement that is a transaction of its own. A daemon can be stopped between any two of
them without holding a lock that others wait for. All of them take a service reader, also those that write,
and the clock is Postgres's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from asyncpg import Record
from msgspec import Struct

from zmartd.store.postgres.reader import Reads

Status = Literal["running", "ran", "skipped", "caught_up"]
Reason = Literal["overlap", "paused", "late", "disabled"]
Outcome = Literal["ok", "failed", "skipped"]

FOREVER: Final = datetime.max.replace(tzinfo=UTC)
"""Postgres's infinity, of a pause that lasts until it is ended."""

_NOW = "select clock_timestamp()"
_STATES = """
select schedule.task, schedule.schedule, schedule.next_due_at,
       schedule.paused_until, schedule.paused_because, schedule.paused_by,
       schedule.prompted_at, schedule.prompted_because,
       run.id as run_id, run.fencing_token, run.daemon, run.due_at, run.started_at, run.lease_until,
       run.attempt, run.deaths,
       newest.id as newest_id, newest.status as newest_status, newest.reason as newest_reason,
       newest.explanation as newest_explanation,
       clock_timestamp() as now
  from task_schedules as schedule
  left join task_runs as run on run.task = schedule.task and run.status = 'running'
  left join lateral (
       select id, status, reason, explanation from task_runs as latest
        where latest.task = schedule.task and latest.due_at is not null and latest.prompted_because is null
        order by latest.due_at desc limit 1) as newest on true
 where schedule.task = any($1::text[])
"""
_REGISTER = """
insert into task_schedules as known (task, schedule, next_due_at) values ($1, $2, $3)
on conflict (task) do update
   set schedule = excluded.schedule,
       next_due_at = case when known.next_due_at > clock_timestamp() then $4 else known.next_due_at end
 where $5 and known.schedule <> excluded.schedule
"""
# Nothing of it happens unless the first part finds the instant, the pause and the prompt that the caller has
# seen.
_ADVANCE = """
with advanced as (
    update task_schedules
       set next_due_at = $3,
           prompted_at = case when $17 then null else prompted_at end,
           prompted_because = case when $17 then null else prompted_because end
     where task = $1 and next_due_at = $2 and paused_until is not distinct from $4
       and prompted_at is not distinct from $16
    returning task
), covered as (
    select advanced.task, one.*
      from advanced, unnest($5::text[], $6::timestamptz[], $7::timestamptz[], $8::int[], $9::text[],
                            $10::text[], $11::bigint[], $12::text[])
           as one(status, due_at, last_due_at, instants, reason, explanation, continues, prompted_because)
), continued as (
    update task_runs as run
       set last_due_at = covered.last_due_at, instants = run.instants + covered.instants,
           finished_at = clock_timestamp()
      from covered where run.id = covered.continues
    returning run.id
), added as (
    insert into task_runs (task, status, due_at, last_due_at, instants, reason, explanation, prompted_because,
                           finished_at, eventful)
    select task, status, due_at, last_due_at, instants, reason, explanation, prompted_because,
           clock_timestamp(), reason is distinct from 'overlap'
      from covered where continues is null or not exists (select from continued)
), begun as (
    insert into task_runs (task, status, due_at, last_due_at, instants, daemon, fencing_token, lease_until,
                           started_at, prompted_because)
    select task, 'running', $13, $13, 1, $14, nextval('task_fencing_tokens'),
           clock_timestamp() + make_interval(secs => $15), clock_timestamp(), $18
      from advanced where $13::timestamptz is not null
    returning id, fencing_token, started_at, attempt
)
select begun.* from advanced left join begun on true
"""
_BEGIN_BY_HAND = """
insert into task_runs (task, status, daemon, fencing_token, lease_until, started_at)
values ($1, 'running', $2, nextval('task_fencing_tokens'), clock_timestamp() + make_interval(secs => $3),
        clock_timestamp())
on conflict (task) where status = 'running' do nothing
returning id, fencing_token, started_at, attempt
"""
_RUNNING = """
select id as run_id, fencing_token, daemon, due_at, started_at, lease_until, attempt, deaths,
       clock_timestamp() as now
  from task_runs where task = $1 and status = 'running'
"""
_TAKE_OVER = """
update task_runs
   set fencing_token = nextval('task_fencing_tokens'), daemon = $3, attempt = attempt + 1, explanation = null,
       deaths = deaths + (lease_until is not null)::int,
       lease_until = clock_timestamp() + make_interval(secs => $4)
 where id = $1 and fencing_token = $2 and status = 'running'
   and (lease_until is null or lease_until < clock_timestamp())
returning id, fencing_token, clock_timestamp() as started_at, attempt
"""
_ABANDON = """
update task_runs
   set status = 'ran', outcome = 'failed', finished_at = clock_timestamp(), explanation = $3, eventful = true,
       deaths = deaths + (lease_until is not null)::int
 where id = $1 and fencing_token = $2 and status = 'running'
   and (lease_until is null or lease_until < clock_timestamp())
returning true
"""
_RENEW = """
update task_runs as run set lease_until = clock_timestamp() + make_interval(secs => $3)
  from unnest($1::bigint[], $2::bigint[]) as held(id, fencing_token)
 where run.id = held.id and run.fencing_token = held.fencing_token and run.status = 'running'
returning run.id
"""
_GIVE_BACK = """
update task_runs as run set lease_until = null, explanation = $3
 where id = $1 and fencing_token = $2 and status = 'running'
returning id
"""
_FINISH = """
update task_runs
   set status = 'ran', finished_at = clock_timestamp(), outcome = $3, report = $4, explanation = $5,
       eventful = $6
 where id = $1 and fencing_token = $2 and status = 'running'
returning finished_at
"""
_PAUSE = """
update task_schedules
   set paused_until = coalesce(clock_timestamp() + make_interval(secs => $2), 'infinity'),
       paused_because = $3, paused_by = $4
 where task = $1
returning paused_until
"""
_RESUME = """
update task_schedules set paused_until = clock_timestamp()
 where task = $1 and paused_until > clock_timestamp()
returning true
"""
_ENTRIES = """
select task, status, due_at, last_due_at, instants, reason, explanation, prompted_because, daemon,
       fencing_token, attempt, started_at, finished_at, outcome, report
  from task_runs where task = $1 order by coalesce(due_at, started_at) desc, id desc limit $2
"""
_LATEST = """
select latest.*
  from unnest($1::text[]) as named(task)
 cross join lateral (
       select task, status, due_at, last_due_at, instants, reason, explanation, prompted_because, daemon,
              fencing_token, attempt, started_at, finished_at, outcome, report
         from task_runs
        where task_runs.task = named.task and (status = 'ran' or (status = 'running' and not $2))
        order by id desc limit 1) as latest
"""
_TASKS = "select task from task_schedules order by task"


class Running(Struct, frozen=True):
    """A run that goes on."""

    run_id: int
    fencing_token: int
    daemon: str
    due_at: datetime | None
    """The instant that it covers; None for a run by hand."""
    started_at: datetime
    lease_until: datetime | None
    """None: the daemon that had it has given it back."""
    attempt: int
    deaths: int

    def is_held(self, now: datetime) -> bool:
        """Whether the daemon that has it may still be alive."""
        return self.lease_until is not None and self.lease_until >= now


class Newest(Struct, frozen=True):
    """The row with the newest instant of a task's schedule."""

    id: int
    status: Status
    reason: Reason | None
    explanation: str | None


class Prompt(Struct, frozen=True):
    """A wish for a run beside the schedule, which the next run that begins answers."""

    at: datetime
    because: str


class TaskState(Struct, frozen=True):
    """A task as the ledger has it, at `now` by Postgres's clock."""

    task: str
    schedule: str
    next_due_at: datetime
    """The first instant that is in no row yet."""
    paused_until: datetime | None
    """Instants up to then are skipped; FOREVER: until somebody resumes the task."""
    paused_because: str | None
    paused_by: str | None
    prompt: Prompt | None
    run: Running | None
    newest: Newest | None
    now: datetime

    @property
    def is_paused(self) -> bool:
        return self.paused_until is not None and self.paused_until > self.now


class Cover(Struct, frozen=True):
    """Instants in a row that are not run, and why."""

    status: Literal["skipped", "caught_up"]
    first: datetime
    last: datetime
    instants: int
    reason: Reason | None
    explanation: str
    continues: int | None = None
    """The row of the instants before, where it says the same: it then covers these, too."""
    prompted_because: str | None = None
    """Of a prompt, which is one instant."""


class Held(Struct, frozen=True):
    """The row of a run, and the token with which a daemon holds it, or held it."""

    id: int
    fencing_token: int
    started_at: datetime
    attempt: int = 1
    """How often the run was begun, this time included."""


class Entry(Struct, frozen=True):
    """A row of the ledger: instants with what became of them, or a run by hand."""

    task: str
    status: Status
    due_at: datetime | None
    last_due_at: datetime | None
    instants: int
    reason: Reason | None
    explanation: str | None
    daemon: str | None
    fencing_token: int | None
    attempt: int
    started_at: datetime | None
    finished_at: datetime | None
    outcome: Outcome | None
    report: Any
    """Of a run that has ended: the task's own report."""
    prompted_because: str | None = None
    """What prompted it; None for instants of the schedule, and for a run by hand."""


async def now(connection: Reads) -> datetime:
    """The time by Postgres's clock."""
    moment: datetime = await connection.fetchval(_NOW)
    return moment


async def register(
    connection: Reads, task: str, schedule: str, first: datetime, following: datetime, *, decides: bool
) -> None:
    """Enter a task, due at `first`. One that is there gets another schedule, if the caller `decides`.

    Its next instant is then `following`, unless one has come already, which stays.
    """
    await connection.fetchval(_REGISTER, task, schedule, first, following, decides)


async def states(connection: Reads, tasks: Sequence[str]) -> dict[str, TaskState]:
    """Those of `tasks` that are in the ledger, by name."""
    rows = await connection.fetch(_STATES, list(tasks))
    return {row["task"]: _state(row) for row in rows}


async def registered(connection: Reads) -> list[str]:
    """The names of all tasks in the ledger, in order."""
    return [row["task"] for row in await connection.fetch(_TASKS)]


async def advance(
    connection: Reads,
    state: TaskState,
    next_due_at: datetime,
    covers: Sequence[Cover],
    *,
    run_at: datetime | None,
    daemon: str,
    lease_seconds: float,
    answers_prompt: bool = False,
    prompted_because: str | None = None,
) -> tuple[bool, Held | None]:
    """Move the task's next instant to `next_due_at` from that of `state`, and cover those in between.

    `run_at` is the one of them that is run now, or that of the prompt, with what it says. `answers_prompt`:
    the prompt of `state` is done with. Gives whether this call has moved it, and the run's row.
    Raises UniqueViolationError where a run has begun since.
    """
    row = await connection.fetchrow(
        _ADVANCE,
        state.task,
        state.next_due_at,
        next_due_at,
        state.paused_until,
        [one.status for one in covers],
        [one.first for one in covers],
        [one.last for one in covers],
        [one.instants for one in covers],
        [one.reason for one in covers],
        [one.explanation for one in covers],
        [one.continues for one in covers],
        [one.prompted_because for one in covers],
        run_at,
        daemon,
        lease_seconds,
        None if state.prompt is None else state.prompt.at,
        answers_prompt,
        prompted_because,
    )
    if row is None:
        return False, None
    return True, _held(row) if row["id"] is not None else None


async def begin_by_hand(connection: Reads, task: str, daemon: str, lease_seconds: float) -> Held | None:
    """Begin a run at no instant; None while another run of the task goes on."""
    row = await connection.fetchrow(_BEGIN_BY_HAND, task, daemon, lease_seconds)
    return None if row is None else _held(row)


async def running(connection: Reads, task: str) -> tuple[Running, datetime] | None:
    """The run of the task that goes on, and the time by Postgres's clock."""
    row = await connection.fetchrow(_RUNNING, task)
    return None if row is None else (_running(row), row["now"])


async def take_over(connection: Reads, run: Running, daemon: str, lease_seconds: float) -> Held | None:
    """Hold a run that nobody holds any more; None where somebody does."""
    row = await connection.fetchrow(_TAKE_OVER, run.run_id, run.fencing_token, daemon, lease_seconds)
    return None if row is None else _held(row)


async def abandon(connection: Reads, run: Running, explanation: str) -> bool:
    """End, as failed, a run that nobody holds any more."""
    return bool(await connection.fetchval(_ABANDON, run.run_id, run.fencing_token, explanation))


async def renew(connection: Reads, held: Sequence[Held], lease_seconds: float) -> set[int]:
    """Hold runs for longer. Gives the ids of those that are still held."""
    ids, tokens = [one.id for one in held], [one.fencing_token for one in held]
    return {row["id"] for row in await connection.fetch(_RENEW, ids, tokens, lease_seconds)}


async def give_back(connection: Reads, held: Held, explanation: str | None = None) -> None:
    """Let any daemon go on with a run at once. `explanation` is for operators, while nobody does."""
    await connection.fetchval(_GIVE_BACK, held.id, held.fencing_token, explanation)


async def finish(
    connection: Reads,
    held: Held,
    outcome: Outcome,
    report: object,
    explanation: str | None,
    *,
    eventful: bool,
) -> bool:
    """Record how a run ended. False where it is no longer held: then another daemon goes on with it."""
    text = msgspec.json.encode(report).decode()
    finished = await connection.fetchval(
        _FINISH, held.id, held.fencing_token, outcome, text, explanation, eventful
    )
    return finished is not None


async def pause(
    connection: Reads, task: str, seconds: float | None, because: str, by: str
) -> datetime | None:
    """Skip the task's instants for so long, or for None until it is resumed. Gives until when.

    None where the task is not in the ledger.
    """
    return _aware(await connection.fetchval(_PAUSE, task, seconds, because, by))


async def resume(connection: Reads, task: str) -> bool:
    """End a pause. False where there is none."""
    return bool(await connection.fetchval(_RESUME, task))


async def entries(connection: Reads, task: str, limit: int) -> list[Entry]:
    """The newest rows of a task, newest first."""
    return [_entry(row) for row in await connection.fetch(_ENTRIES, task, limit)]


async def latest_runs(connection: Reads, tasks: Sequence[str], *, ended: bool = False) -> dict[str, Entry]:
    """The newest run, or the newest that has ended, of each of `tasks` that has one, by name."""
    return {row["task"]: _entry(row) for row in await connection.fetch(_LATEST, list(tasks), ended)}


def _state(row: Record) -> TaskState:
    return TaskState(
        task=row["task"],
        schedule=row["schedule"],
        next_due_at=row["next_due_at"],
        paused_until=_aware(row["paused_until"]),
        paused_because=row["paused_because"],
        paused_by=row["paused_by"],
        prompt=None if row["prompted_at"] is None else Prompt(row["prompted_at"], row["prompted_because"]),
        run=None if row["run_id"] is None else _running(row),
        newest=None
        if row["newest_id"] is None
        else Newest(row["newest_id"], row["newest_status"], row["newest_reason"], row["newest_explanation"]),
        now=row["now"],
    )


def _running(row: Record) -> Running:
    return Running(**{name: row[name] for name in Running.__struct_fields__})


def _held(row: Record) -> Held:
    return Held(row["id"], row["fencing_token"], row["started_at"], row["attempt"])


def _entry(row: Record) -> Entry:
    fields = {name: row[name] for name in Entry.__struct_fields__}
    report = fields.pop("report")
    return Entry(**fields, report=None if report is None else msgspec.json.decode(report))


def _aware(moment: Any) -> datetime | None:
    """asyncpg gives infinity as the greatest datetime without a zone, and takes it with one."""
    if moment is None:
        return None
    found: datetime = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return found

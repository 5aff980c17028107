"""Tasks under faults: five daemons with the same tasks, each a process, are killed, frozen for longer than
their leases, stopped and started, with clocks that are wrong, on a Redis that forgets and restarts, and a
Postgres that restarts.

    python -m tests.stress.tasks --seed 7 --minutes 10

In the end the whole ledger is read: each instant of each task, also of those that go through shifts of
clocks, has to be in exactly one row that says what became of it; each run that ended well has to have left
its effect, and each run that a dead or frozen daemon had has to have gone on elsewhere within three seconds.
The last line is a summary; the exit status is 1 when one of these numbers is wrong. Everything ends with the
program.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from redis.asyncio import Redis

from tests.integration.tasks.ledger_audit import ALL, covered
from tests.statements import execute
from tests.stress.task_daemon import EFFECTS, Plan, PlannedTask
from zmartd import config
from zmartd.config_values import PostgresUrl
from zmartd.embedded.postgres import EmbeddedPostgres
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.log import configure as configure_log
from zmartd.schedule import read_timing
from zmartd.store import task_ledger
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.migrations import migrate
from zmartd.store.task_ledger import Entry

_MOST: Final = 10
"""Times as many steps as were asked for, where no daemon that was lost had a run just then."""
DAEMONS: Final = 5
TAKE_OVER: Final = timedelta(seconds=3)
FROZEN_SECONDS: Final = 4.0
OFF_SECONDS: Final = (-600.0, 0.0, 600.0, 3_600.0, -86_400.0)
CLOCKS_MOVE: Final = (datetime(2025, 3, 29, tzinfo=UTC), datetime(2025, 10, 25, tzinfo=UTC))

TASKS: Final = (
    *(PlannedTask(f"often_{number}", "every 0.2 s", "last", 0.01) for number in range(8)),
    *(PlannedTask(f"all_{number}", "every 0.5 s", "all", 0.01) for number in range(2)),
    PlannedTask("none", "every 0.7 s", "none", 0.05),
    PlannedTask("slow", "every 1 s", "last", 6.0),
    PlannedTask("long", "every 5 s", "last", 12.0),
    PlannedTask("spring", "*/10 * * * * Europe/Berlin", "all", 0.0),
    PlannedTask("spring_nightly", "30 2 * * * Europe/Berlin", "all", 0.0),
    PlannedTask("autumn", "*/10 * * * * Europe/Berlin", "all", 0.0),
    PlannedTask("autumn_nightly", "30 2 * * * America/New_York", "all", 0.0),
)
"""The last four begin before a shift of clocks, and go through it as they catch up."""


@dataclass
class Found:
    """What was wrong, and what was done."""

    instants: int = 0
    runs: int = 0
    taken_over: int = 0
    twice: int = 0
    unexplained: int = 0
    without_effect: int = 0
    late: int = 0
    slowest: timedelta = timedelta(0)
    problems: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    def say(self, kind: str, problem: str) -> None:
        """Count a problem under the name of a field."""
        setattr(self, kind, getattr(self, kind) + 1)
        self.problems.append(f"{kind}: {problem}")

    @property
    def is_clean(self) -> bool:
        return not (self.twice or self.unexplained or self.without_effect or self.late)


class Rig:
    """The servers and the daemons."""

    def __init__(
        self,
        postgres: EmbeddedPostgres,
        valkey: EmbeddedValkey,
        database: Database,
        rng: random.Random,
        *,
        shows_logs: bool,
    ) -> None:
        self.found = Found()
        self._shows_logs = shows_logs
        self._postgres = postgres
        self._valkey = valkey
        self._database = database
        self._rng = rng
        self._daemons: dict[str, asyncio.subprocess.Process] = {}
        self._number = 0

    async def start(self, off_seconds: float | None = None) -> None:
        self._number += 1
        off = self._rng.choice(OFF_SECONDS) if off_seconds is None else off_seconds
        name = f"daemon-{self._number}"
        plan = Plan(name, self._rng.randrange(2**32), self._postgres.dsn, self._valkey.url, off, TASKS)
        self._daemons[name] = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.stress.task_daemon", msgspec.json.encode(plan).decode()),
            stderr=None if self._shows_logs else asyncio.subprocess.DEVNULL,
        )

    async def stop_all(self) -> None:
        for process in self._daemons.values():
            with suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*(process.wait() for process in self._daemons.values()))

    async def step(self) -> None:
        """Break one thing, and mend it."""
        kind = self._rng.choices(
            ("kill", "freeze", "end", "flush", "redis", "postgres"), weights=(6, 5, 2, 4, 1, 1)
        )[0]
        self.found.done[kind] += 1
        if kind in ("kill", "freeze"):
            await self._lose(kind)
        elif kind == "end":
            await self._end()
        elif kind == "flush":
            async with Redis.from_url(self._valkey.url) as client:
                await client.flushall()
        elif kind == "redis":
            await self._valkey.stop()
            await asyncio.sleep(self._rng.uniform(0, 1.5))
            await self._valkey.start()
        else:
            await self._postgres.stop()
            await self._postgres.start()
            await asyncio.sleep(3.0)  # what a restart delays is no take-over
        await asyncio.sleep(self._rng.uniform(0.2, 1.0))

    async def _lose(self, kind: str) -> None:
        """Kill or freeze a daemon, most often one that has a run, and see its runs go on elsewhere."""
        holders = [name for name in await self._holders() if name in self._daemons]
        name = self._rng.choice(holders or list(self._daemons))
        process = self._daemons[name]
        since = await self._now()
        process.send_signal(signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
        await asyncio.sleep(0.05)  # what it had on its way to Postgres is there
        await self._see_taken_over(name, since)
        if kind == "freeze":
            await asyncio.sleep(max(0.0, FROZEN_SECONDS - (await self._now() - since).total_seconds()))
            process.send_signal(signal.SIGCONT)
            return
        await process.wait()
        del self._daemons[name]
        await self.start()

    async def _see_taken_over(self, daemon: str, since: datetime) -> None:
        async with self._database.service_reader() as connection:
            rows = await connection.fetch(
                "select id, task, fencing_token from task_runs where daemon = $1 and status = 'running'",
                daemon,
            )
        left = {row["id"]: row for row in rows}
        while left:
            async with self._database.service_reader() as connection:
                now = await task_ledger.now(connection)
                held = await connection.fetch(
                    "select id from task_runs where id = any($1::bigint[]) and status = 'running' "
                    "and daemon = $2",
                    list(left),
                    daemon,
                )
            for gone in left.keys() - {row["id"] for row in held}:
                self.found.taken_over += 1
                self.found.slowest = max(self.found.slowest, now - since)
                if now - since > TAKE_OVER:
                    self.found.say("late", f"{left[gone]['task']} of {daemon} went on after {now - since}")
                del left[gone]
            if now - since > 5 * TAKE_OVER:
                self.found.say("late", f"{[row['task'] for row in left.values()]} of {daemon} did not go on")
                return
            await asyncio.sleep(0.02)

    async def _end(self) -> None:
        name = self._rng.choice(list(self._daemons))
        process = self._daemons.pop(name)
        process.terminate()
        try:
            async with asyncio.timeout(30):
                await process.wait()
        except TimeoutError:
            self.found.say("unexplained", f"{name} does not end")
            process.kill()
        await self.start()

    async def _holders(self) -> list[str]:
        async with self._database.service_reader() as connection:
            rows = await connection.fetch("select distinct daemon from task_runs where status = 'running'")
        return sorted(row["daemon"] for row in rows)

    async def _now(self) -> datetime:
        async with self._database.service_reader() as connection:
            return await task_ledger.now(connection)

    async def judge(self) -> None:
        """Read the whole ledger, when every daemon is gone."""
        async with self._database.service_reader() as connection:
            states = await task_ledger.states(connection, [task.name for task in TASKS])
            effects = {row["run_id"] for row in await connection.fetch("select run_id from public.effects")}
            ids = {
                (row["task"], row["due_at"]): row["id"]
                for row in await connection.fetch("select id, task, due_at from task_runs")
            }
            for task in TASKS:
                rows = list(reversed(await task_ledger.entries(connection, task.name, ALL)))
                judge_instants(self.found, task, rows, states[task.name].next_due_at)
                for row in rows:
                    if row.outcome == "ok" and ids[row.task, row.due_at] not in effects:
                        self.found.say("without_effect", f"{row.task} at {row.due_at}")


def judge_instants(found: Found, task: PlannedTask, rows: Sequence[Entry], next_due_at: datetime) -> None:
    """Every instant up to the next one has to be in one of the rows, which are in order."""
    timing, expected = read_timing(task.timing), rows[0].due_at
    for row in rows:
        assert row.due_at is not None
        assert row.last_due_at is not None
        assert expected is not None
        if row.due_at < expected:
            found.say("twice", f"{task.name} at {row.due_at}")
        elif row.due_at > expected or row.instants != covered(timing, row.due_at, row.last_due_at):
            found.say("unexplained", f"{task.name} from {expected} to {row.due_at}: {row}")
        if row.status != "running" and not (row.outcome or row.explanation):
            found.say("unexplained", f"{task.name} at {row.due_at}: {row}")
        found.instants += row.instants
        found.runs += row.status == "ran"
        expected = timing.next_after(row.last_due_at)
    if expected != next_due_at:
        found.say("unexplained", f"{task.name} ends at {expected}, and goes on at {next_due_at}")


@asynccontextmanager
async def standing(directory: Path, rng: random.Random, *, shows_logs: bool) -> AsyncIterator[Rig]:
    """Servers of its own in `directory`, which others must be able to enter, and the daemons."""
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(EmbeddedPostgres(directory / "postgres"))
        valkey = await stack.enter_async_context(EmbeddedValkey(directory / "valkey"))
        await migrate(postgres.dsn)
        await execute(postgres.dsn, EFFECTS, "grant all on public.effects to service_role")
        database = await Database.connect(config.DatabaseSettings(url=PostgresUrl(postgres.dsn)))
        stack.push_async_callback(database.close)
        async with database.service_reader() as connection:
            for task in TASKS[-4:]:
                timing = read_timing(task.timing)
                first = timing.next_after(CLOCKS_MOVE[0 if task.name.startswith("spring") else 1])
                await task_ledger.register(connection, task.name, task.timing, first, first, decides=False)
        rig = Rig(postgres, valkey, database, rng, shows_logs=shows_logs)
        stack.push_async_callback(rig.stop_all)
        for off_seconds in OFF_SECONDS[:DAEMONS]:
            await rig.start(off_seconds)
        yield rig


async def run(
    directory: Path, seed: int, *, steps: int | None = None, minutes: float = 0.0, shows_logs: bool = False
) -> Found:
    """So many steps, and more until a run was taken over; or as many as there is time for."""
    loop = asyncio.get_running_loop()
    async with standing(directory, random.Random(seed), shows_logs=shows_logs) as rig:
        await asyncio.sleep(5.0)
        ends_at, number = loop.time() + minutes * 60, 0
        while (
            number < steps or (not rig.found.taken_over and number < _MOST * steps)
            if steps is not None
            else loop.time() < ends_at
        ):
            number += 1
            await rig.step()
        await rig.stop_all()
        await rig.judge()
        return rig.found


def summary(found: Found) -> str:
    """One line."""
    counted: dict[str, Any] = {
        "instants": found.instants,
        "runs": found.runs,
        "twice": found.twice,
        "unexplained": found.unexplained,
        "without effect": found.without_effect,
        "taken over": found.taken_over,
    }
    numbers = ", ".join(f"{number} {name}" for name, number in counted.items())
    faults = ", ".join(f"{name} {count}" for name, count in sorted(found.done.items()))
    return (
        f"{numbers}, of which {found.late} later than {TAKE_OVER.seconds} s (at most "
        f"{found.slowest.total_seconds():.2f} s) ({faults})"
    )


@click.command()
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same plan.")
@click.option("--minutes", type=click.FloatRange(0.1, 600), default=5.0, show_default=True)
@click.option("--logs", is_flag=True, help="Show what the daemons log, which is a lot under faults.")
def main(seed: int, minutes: float, logs: bool) -> None:
    """Break what runs tasks, and see whether each instant is run once, or says why it was not."""
    configure_log("error", "console", sys.stderr)
    with tempfile.TemporaryDirectory(prefix="zmartd-tasks-") as directory:
        Path(directory).chmod(0o711)
        found = asyncio.run(run(Path(directory), seed, minutes=minutes, shows_logs=logs))
    for problem in found.problems:
        click.echo(problem)
    click.echo(f"seed {seed}: {summary(found)}")
    sys.exit(0 if found.is_clean else 1)


if __name__ == "__main__":
    main()

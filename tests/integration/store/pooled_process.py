"""A process with eight callers on a database, run by a test beside another: `python -m … URL NUMBER`.

It prints what it saw: how much it did, what failed, which statements gave what no statement of its own gives,
rows that are not the caller's, and on which backends it ran.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import msgspec
from msgspec import Struct, field

from tests.integration.store.rows import first_row, wallet
from zmartd import config, log
from zmartd.config_values import PostgresUrl
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.reader import Reads
from zmartd.store.postgres.rls import Caller

_Opened = Callable[[], AbstractAsyncContextManager[Reads]]

CALLERS = 8
_ROUNDS = 40
_STATEMENTS = 25
_WHO = """
select current_user::text as role, zmartd.caller_wallet() as wallet, pg_backend_pid() as pid,
       current_setting('statement_timeout') as timeout, current_setting('timezone') as zone
"""
_HELD = "select user_wallet from user_positions"
_CHANGED = "update users set bio = $1 where wallet = $2"


class Seen(Struct):
    """What a process saw."""

    done: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    wrong_answers: list[str] = field(default_factory=list)
    foreign_rows: list[str] = field(default_factory=list)
    backends: set[int] = field(default_factory=set)


def holder(process: int, caller: int) -> str:
    """The wallet of one of the callers, of whom no two are the same."""
    return wallet(f"caller {caller} of process {process}")


class _Caller:
    def __init__(self, database: Database, process: int, number: int, seen: Seen) -> None:
        self._database = database
        self._wallet = holder(process, number)
        self._process = process
        self._choice = random.Random(process * CALLERS + number)
        self._seen = seen

    async def run(self) -> None:
        """Do everything that a daemon does with a database, many times and in any order."""
        caller = Caller(self._wallet)
        database = self._database
        steps: list[Callable[[], Awaitable[None]]] = [
            partial(self._read, lambda: database.reader(caller), "authenticated", self._wallet),
            partial(self._read, lambda: database.caller(caller), "authenticated", self._wallet),
            partial(self._read, database.service_reader, "service_role", None),
            partial(self._read, database.service, "service_role", None),
            self._write,
        ]
        for _ in range(_ROUNDS):
            for step in self._choice.sample(steps, len(steps)):
                try:
                    await step()
                except Exception as error:  # whatever it is, the test shows it
                    what = f"{type(error).__name__}: {error}"[:200]
                    self._seen.failed[what] = self._seen.failed.get(what, 0) + 1
                self._seen.done += 1

    async def _read(self, opened: _Opened, role: str, acting: str | None) -> None:
        async with opened() as connection:
            await self._ask(connection)
            await self._look(connection, role, acting)

    async def _ask(self, reads: Reads) -> None:
        """A statement that the other process does not have: its answer says whose it was."""
        number = self._choice.randrange(_STATEMENTS)
        factor = number * 10 + self._process
        argument = self._choice.randrange(1, 1_000_000)
        answer = await reads.fetchval(f"select $1::bigint * {factor}", argument)
        if answer != argument * factor:
            self._seen.wrong_answers.append(f"{argument} * {factor} = {answer}")

    async def _look(self, reads: Reads, role: str, acting: str | None) -> None:
        who = await first_row(reads, _WHO)
        self._seen.backends.add(who["pid"])
        if (who["role"], who["wallet"], who["timeout"], who["zone"]) != (role, acting, "10s", "UTC"):
            self._seen.wrong_answers.append(f"{tuple(who)} as {role} of {acting}")
        held = [row["user_wallet"] for row in await reads.fetch(_HELD)]
        if held != [acting] if acting else len(held) != 2 * CALLERS:
            self._seen.foreign_rows.append(f"{held} as {role} of {acting}")

    async def _write(self) -> None:
        text = str(self._choice.random())
        async with self._database.caller(Caller(self._wallet)) as connection:
            await connection.execute(_CHANGED, text, self._wallet)
            await connection.executemany(_CHANGED, [(text, self._wallet), (text, "nobody")])
            stored = await connection.fetchval("select bio from users where wallet = $1", self._wallet)
        if stored != text:
            self._seen.wrong_answers.append(f"{stored} instead of {text}")


async def _main(url: str, process: int) -> None:
    log.configure("warning", "json")
    seen = Seen()
    database = await Database.connect(config.DatabaseSettings(url=PostgresUrl(url), pool_size=CALLERS))
    await asyncio.gather(*(_Caller(database, process, number, seen).run() for number in range(CALLERS)))
    await database.close()
    sys.stdout.buffer.write(msgspec.json.encode(seen))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))

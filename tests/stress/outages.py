"""Break what the daemon depends on, one after another, and measure what its operator sees.

    python -m tests.stress.outages                # all, as the table of docs/operations.md
    python -m tests.stress.outages --only Redis   # those whose name has this in it

Postgres, Valkey and the chain are real processes on this machine, the daemon is `zmartd serve`. `seen` is the
time from the break until the operator's /health names it, `well` from when it is mended until both health
checks are well again. The users' column has what they got meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import signal
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
from redis.asyncio import Redis

from tests.stress.outage_stage import Look, Stage, family, send, staged

SEEN_SECONDS = 15.0
WELL_SECONDS = 60.0
LASTS_SECONDS = 3.0
"""How long it stays broken after it was seen."""
START_SECONDS = 300.0
"""How long a daemon may take to listen."""
BURST = 40

Act = Callable[[Stage], Awaitable[None]]


class Outage(msgspec.Struct, frozen=True):
    """What is broken and how it is mended again."""

    name: str
    check: str
    """The check of the operator's /health that has to name it; "" where users and operators are to see
    nothing."""
    strike: Act
    heal: Act


class Row(msgspec.Struct, frozen=True):
    outage: str
    seen_seconds: float
    well_seconds: float
    public: int
    """The public health check's status meanwhile."""
    message: str
    """What the operator's says."""
    usage: dict[str, int]
    burst: dict[int, int]
    """How many of BURST signed-in requests at once got which status, directly after the break."""
    actions: dict[str, int]
    """How many lines of which warnings and errors the log has."""
    left: dict[str, str]
    """What is not well in the end."""

    def lines(self) -> Iterator[str]:
        usage = ", ".join(f"{what} {status}" for what, status in self.usage.items())
        burst = ", ".join(f"{status}: {number}" for status, number in sorted(self.burst.items()))
        seen, well = f"{self.seen_seconds:5.1f} s", f"{self.well_seconds:5.1f} s"
        yield f"{self.outage:36} seen {seen}, well {well}; {self.public}"
        yield f"    operator: {self.message}"
        yield f"    users:    {usage}; {BURST} at once: {burst}"
        yield f"    log:      {', '.join(f'{name} {number}' for name, number in self.actions.items())}"
        if self.left:
            yield f"    LEFT:     {self.left}"


async def measure(
    stage: Stage, outage: Outage, seen_seconds: float = SEEN_SECONDS, well_seconds: float = WELL_SECONDS
) -> Row:
    """What was seen of an outage. A time that is longer than these is infinite."""
    operator = stage.operator
    operator.new_lines()
    await outage.strike(stage)
    burst = asyncio.create_task(operator.burst(BURST))

    def is_seen(look: Look) -> bool:
        return outage.check in look.failing

    if outage.check:
        seen, look = await operator.until(is_seen, seen_seconds)
    else:
        seen, look = 0.0, await operator.look()
    statuses = Counter(await burst)
    await asyncio.sleep(LASTS_SECONDS)
    usage = await operator.usage()
    await outage.heal(stage)
    well, last = await operator.until(lambda look: look.is_well, well_seconds)
    lines = [line for line in operator.new_lines() if line.get("level") in ("warning", "error")]
    return Row(
        outage.name,
        seen,
        well,
        look.public,
        look.failing.get(outage.check, "") or str(look.failing),
        usage,
        dict(statuses),
        dict(Counter(line["action"] for line in lines)),
        {} if last.is_well else last.failing or {"nobody": "answers"},
    )


async def _nothing(_stage: Stage) -> None:
    """It has passed by itself."""


# Not started


def _without(*parts: str) -> tuple[Act, Act]:
    """The daemon is started while these are not."""

    async def strike(stage: Stage) -> None:
        system = stage.system
        await system.daemon.stop()
        for part in parts:
            await _STOP[part](stage)
        await system.daemon.launch()
        await stage.operator.until(lambda look: look.answered, START_SECONDS)

    async def heal(stage: Stage) -> None:
        for part in parts:
            await _START[part](stage)
        if not stage.system.daemon.runs:
            await stage.system.daemon.start()

    return strike, heal


async def _stop_postgres(stage: Stage) -> None:
    await stage.system.postgres.stop()


async def _start_postgres(stage: Stage) -> None:
    await stage.system.postgres.start()


async def _stop_redis(stage: Stage) -> None:
    await stage.system.stop_valkey()


async def _start_redis(stage: Stage) -> None:
    await stage.system.start_valkey()


async def _stop_chain(stage: Stage) -> None:
    await stage.system.chain.stop()


async def _start_chain(stage: Stage) -> None:
    await stage.system.chain.start()


_STOP: dict[str, Act] = {"Postgres": _stop_postgres, "Redis": _stop_redis, "RPC": _stop_chain}
_START: dict[str, Act] = {"Postgres": _start_postgres, "Redis": _start_redis, "RPC": _start_chain}


# Postgres


async def _kill_postgres(stage: Stage) -> None:
    await stage.system.crash_postgres()


async def _freeze_postgres(stage: Stage) -> None:
    send(family(stage.system.postgres.pid), signal.SIGSTOP)


async def _thaw_postgres(stage: Stage) -> None:
    send(family(stage.system.postgres.pid), signal.SIGCONT)


async def _forbid_writing(stage: Stage) -> None:
    await stage.system.administer(
        "alter system set default_transaction_read_only = on", "select pg_reload_conf()"
    )


async def _allow_writing(stage: Stage) -> None:
    await stage.system.administer(
        "alter system reset default_transaction_read_only", "select pg_reload_conf()"
    )


async def _fill_disk(stage: Stage) -> None:
    assert stage.disk is not None
    await asyncio.to_thread(_write_ballast, stage.disk / "ballast")


def _write_ballast(file: Path) -> None:
    with file.open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(bytes(4_096))


async def _empty_disk(stage: Stage) -> None:
    assert stage.disk is not None
    (stage.disk / "ballast").unlink()
    await stage.system.postgres.stop()
    await stage.system.postgres.start()


async def _rotate_password(stage: Stage) -> None:
    await _rotate_password_to(stage, "another")


async def _rotate_password_to(stage: Stage, password: str) -> None:
    await stage.system.administer(
        f"alter role zmartd_login password '{password}'",
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'zmartd_login'",
    )


async def _rotate_back(stage: Stage) -> None:
    await stage.system.administer(f"alter role zmartd_login password '{stage.system.password}'")


async def _rotate_password_in_order(stage: Stage) -> None:
    system = stage.system
    system.password = "the+second&password"
    await _rotate_password_to(stage, system.password)
    system.configure()
    system.daemon.reload()


async def _terminate_backends(stage: Stage) -> None:
    await stage.operator.burst(BURST)  # so that there are idle connections
    await stage.system.administer(
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'zmartd_login'"
    )


# Redis


async def _kill_redis(stage: Stage) -> None:
    await stage.system.crash_valkey()


async def _freeze_redis(stage: Stage) -> None:
    send([stage.system.valkey.pid], signal.SIGSTOP)


async def _thaw_redis(stage: Stage) -> None:
    send([stage.system.valkey.pid], signal.SIGCONT)


def _redis_command(*words: str) -> Act:
    async def act(stage: Stage) -> None:
        client = Redis.from_url(stage.system.valkey.url)
        try:
            await client.execute_command(*words)  # type: ignore[no-untyped-call]
        finally:
            await client.aclose()

    return act


async def _kill_redis_clients(stage: Stage) -> None:
    await stage.operator.burst(BURST)
    await _redis_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")(stage)


# The node


async def _silence_node(stage: Stage) -> None:
    send([stage.system.chain.pid], signal.SIGSTOP)


async def _wake_node(stage: Stage) -> None:
    send([stage.system.chain.pid], signal.SIGCONT)


# The daemon itself


async def _forbid_files(stage: Stage) -> None:
    """No more files than it has open."""
    pid = stage.system.daemon.pid
    number = len(os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (number, 4_096))


async def _allow_files(stage: Stage) -> None:
    resource.prlimit(stage.system.daemon.pid, resource.RLIMIT_NOFILE, (4_096, 4_096))


async def _set_clock(stage: Stage) -> None:
    await stage.system.daemon.set_clock_ahead(600)


async def _right_clock(stage: Stage) -> None:
    await stage.system.daemon.set_clock_ahead(0)


async def _ignore_log(stage: Stage) -> None:
    """The daemon writes ten times as much as the pipe takes."""
    await _start_again(stage, log_is_read=False)
    for _ in range(5):
        await stage.operator.burst(BURST)


async def _read_log(stage: Stage) -> None:
    await _start_again(stage, log_is_read=True)


async def _start_again(stage: Stage, *, log_is_read: bool) -> None:
    daemon = stage.system.daemon
    await daemon.stop()
    daemon.log_is_read = log_is_read
    await daemon.start()


def catalogue(stage: Stage) -> Iterator[Outage]:
    """Every outage that this machine can have."""
    yield Outage("Postgres not started", "database", *_without("Postgres"))
    yield Outage("Redis not started", "redis", *_without("Redis"))
    yield Outage("RPC not started", "rpc", *_without("RPC"))
    yield Outage("nothing started", "database", *_without("Postgres", "Redis", "RPC"))
    yield Outage("Postgres kill -9", "database", _kill_postgres, _start_postgres)
    yield Outage("Postgres restarted in order", "database", _stop_postgres, _start_postgres)
    yield Outage("Postgres hangs (SIGSTOP)", "database", _freeze_postgres, _thaw_postgres)
    yield Outage("Postgres only reads", "database", _forbid_writing, _allow_writing)
    if stage.disk is not None:
        yield Outage("Postgres has no disk space", "database", _fill_disk, _empty_disk)
    yield Outage("Postgres password rotated", "database", _rotate_password, _rotate_back)
    yield Outage("Postgres password rotated, SIGHUP", "", _rotate_password_in_order, _nothing)
    yield Outage("Postgres ends all connections", "", _terminate_backends, _nothing)
    yield Outage("Redis kill -9", "redis", _kill_redis, _start_redis)
    yield Outage("Redis hangs (SIGSTOP)", "redis", _freeze_redis, _thaw_redis)
    yield Outage(
        "Redis is full",
        "redis",
        _redis_command("CONFIG", "SET", "maxmemory", "1"),
        _redis_command("CONFIG", "SET", "maxmemory", "268435456"),
    )
    yield Outage(
        "Redis only reads",
        "redis",
        _redis_command("REPLICAOF", "127.0.0.1", "1"),
        _redis_command("REPLICAOF", "NO", "ONE"),
    )
    yield Outage("Redis CLIENT KILL TYPE normal", "", _kill_redis_clients, _nothing)
    yield Outage("RPC ends", "rpc", _stop_chain, _start_chain)
    yield Outage("RPC hangs (SIGSTOP)", "rpc", _silence_node, _wake_node)
    yield Outage("no file descriptor left", "descriptors", _forbid_files, _allow_files)
    yield Outage("clock ten minutes ahead", "clock", _set_clock, _right_clock)
    yield Outage("nobody reads the log", "", _ignore_log, _read_log)


async def main(only: str) -> int:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o711)
        async with staged(Path(directory) / "stage") as stage:
            bad = 0
            for outage in catalogue(stage):
                if not any(one in outage.name for one in only.split(",")):
                    continue
                row = await measure(stage, outage)
                print("\n".join(row.lines()), flush=True)
                bad += bool(row.left)
                if row.left:
                    await stage.system.mend()
            return bad


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    raise SystemExit(asyncio.run(main(parser.parse_args().only)))

"""Run a command's coroutine, with what it needs opened before and closed after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio

    from asyncpg import Connection

    from zmartd.config import Settings
    from zmartd.core import Core

Result = TypeVar("Result")


def run(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a coroutine on uvloop."""
    import uvloop

    return uvloop.run(work())


def run_to_end(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a coroutine, which SIGTERM cancels as SIGINT does: what it has begun is undone or left in order."""
    import asyncio
    import signal

    async def main() -> Result:
        current = asyncio.current_task()
        assert current is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, current.cancel)
        return await work()

    try:
        return run(main)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def run_until_stopped(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `work`, and pass it an event that SIGINT and SIGTERM set. A second one ends the process at once."""
    import asyncio
    import os
    import signal

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def received(number: signal.Signals) -> None:
            if stop.is_set():
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, received, number)
        await work(stop)

    run(main)


def run_with_core(settings: Settings, work: Callable[[Core], Awaitable[Result]]) -> Result:
    """Run `work` with an open core. Raises what `open_core` and `require_ready` raise."""
    from zmartd.clock import SystemClock
    from zmartd.core import open_core, require_ready

    async def main() -> Result:
        async with open_core(settings, SystemClock()) as core:
            await require_ready(core)
            return await work(core)

    return run(main)


def run_with_database(settings: Settings, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Run `work` in a transaction of the service role. Needs only the database."""
    from zmartd.store.postgres.database import Database

    async def main() -> Result:
        database = await Database.connect(settings.database)
        try:
            async with database.service() as connection:
                return await work(connection)
        finally:
            await database.close()

    return run(main)

"""Daemons that are killed on the way from a rule to a receiver."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process

from aiohttp import web

from tests.integration.alerts.outbox import (
    CHAT,
    SIGNED,
    Trouble,
    all_alerts,
    deliver,
    make_due,
    settings_for,
    waiting,
)
from tests.integration.alerts.receiving import PATIENCE_SECONDS, ReceivingServer
from tests.integration.alerts.test_delivering import require_signature
from zmartd.store.postgres.database import Database

MODULE = "tests.integration.alerts.daemon_process"


async def evaluated(database_url: str, receiver: str) -> Process:
    """A daemon that has opened an alert, and waits for a line to deliver it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", MODULE, database_url, receiver, stdin=PIPE, stdout=PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        line = b""
        while line != b"evaluated\n":  # lines of the log come before it
            line = await process.stdout.readline()
            assert line, "it has ended"
    return process


async def test_killed_between_evaluating_and_delivering_another_daemon_delivers_once(
    database_url: str, database: Database, server: ReceivingServer
) -> None:
    process = await evaluated(database_url, server.url)
    process.kill()
    await process.wait()
    assert server.received == []

    settings = settings_for(server.url)
    await Trouble().evaluate(database, settings)  # the next evaluation finds what is open already
    await deliver(database, settings)
    await deliver(database, settings)
    assert len(server.at(SIGNED)) == len(server.at(CHAT)) == 1
    (alert,) = await all_alerts(database)
    assert alert.count == 2


async def test_killed_while_it_delivers_another_daemon_delivers_again_with_the_same_id(
    database_url: str, database: Database, server: ReceivingServer
) -> None:
    process = await evaluated(database_url, server.url)

    async def kill(request: web.Request) -> web.StreamResponse:
        os.kill(process.pid, signal.SIGKILL)
        return await server.hang(request)

    server.instead(SIGNED, kill)
    assert process.stdin is not None
    process.stdin.write(b"\n")
    await server.until(SIGNED, 1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await process.wait()

    settings = settings_for(server.url)
    await deliver(database, settings)
    assert len(server.at(SIGNED)) == 1  # it is the dead daemon's for a while
    await make_due(database)  # which ends
    await deliver(database, settings)
    first, second = server.at(SIGNED)
    assert (first.id, first.raw) == (second.id, second.raw)
    require_signature(second)
    assert await waiting(database) == []

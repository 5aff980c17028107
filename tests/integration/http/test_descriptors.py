"""A process that may not open as many files as it has clients."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

SERVER = "tests.integration.http.scarce_descriptors"
REPOSITORY = Path(__file__).parents[3]
LIMIT = 60


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_a_daemon_without_descriptors_says_so_and_goes_on_when_it_has_some(loop: str) -> None:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", SERVER, loop, str(LIMIT), stdout=PIPE, stderr=PIPE, cwd=REPOSITORY
    )
    assert server.stdout is not None
    assert server.stderr is not None
    try:
        async with asyncio.timeout(120):
            port = int(await server.stdout.readline())
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(LIMIT + 20)]
            while b"daemon.no_descriptors" not in await server.stderr.readline():
                pass
            for _, writer in held:
                writer.close()
            while not await answered(port):  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.05)
    finally:
        server.kill()
        await server.communicate()


async def answered(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return (await reader.readline()).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False
    finally:
        writer.close()

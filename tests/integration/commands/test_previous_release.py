"""The schema is upgraded under a daemon of the release before, which goes on as if nothing had happened."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.integration.tasks.world import HOLDERS, PROGRAM_ID, World
from tests.ports import free_port
from tests.shared_secrets import shared_secret
from zmartd.store.postgres.migrations import all_migrations, migrate, pending

REPOSITORY = Path(__file__).parents[3]
RECORDED = REPOSITORY / "tests" / "previous_release"
"""The commit that stands for the release before, until there is a tag."""
STEADY_REQUESTS = 20
PATIENCE_SECONDS = 300


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, check=True).stdout


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """A directory with the code of the release before."""
    try:
        tags = git("tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname").decode().split()
        name = tags[0] if tags else RECORDED.read_text().strip()
        archive = git("archive", name, "zmartd", "sql")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the release before is not in this checkout's history: {error}")
    directory = tmp_path / "previous"
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        opened.extractall(directory, filter="fully_trusted")
    return directory


class Release:
    """The commands of a release on one database and one chain."""

    def __init__(self, directory: Path, database_url: str, redis_url: str, rpc_url: str) -> None:
        self.directory = directory
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        given = {name: value for name, value in os.environ.items() if not name.startswith("ZMARTD_")}
        self._environment = given | {
            "ZMARTD_SERVER_PORT": str(port),
            "ZMARTD_SERVER_ENVIRONMENT": "development",
            "ZMARTD_OPERATOR_PORT": "0",
            "ZMARTD_DATABASE_URL": database_url,
            "ZMARTD_REDIS_URL": redis_url,
            "ZMARTD_SOLANA_RPC_URL": rpc_url,
            "ZMARTD_SOLANA_CLUSTER": "localnet",
            "ZMARTD_SOLANA_PROGRAM_ID": str(PROGRAM_ID),
            "ZMARTD_HELIUS_AUTHORIZATION": shared_secret("webhook"),
            "ZMARTD_AUTH_JWT_SECRET": shared_secret("sessions"),
            "ZMARTD_RATE_LIMITS_ENABLED": "false",
        }

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "zmartd", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
            cwd=self.directory,
        )

    async def run(self, *arguments: str) -> str:
        """What a command prints that has to exit with 0."""
        process = await self.start(*arguments)
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[aiohttp.ClientSession]:
        """A daemon, and a client for it."""
        process = await self.start("serve")
        assert process.stdout is not None
        lines = process.stdout
        async for line in lines:
            if b"daemon.ready" in line:
                break
        else:
            raise AssertionError("it did not start")
        reading = asyncio.create_task(lines.read())
        try:
            async with aiohttp.ClientSession(self.url) as session:
                yield session
        finally:
            process.terminate()
            await process.wait()
            await reading


async def test_a_daemon_of_the_release_before_serves_while_its_schema_is_upgraded_and_afterwards(
    previous: Path,
    world: World,
    empty_database_url: str,
    redis_url: str,
    tell_reader: Callable[[str], None],
) -> None:
    old = Release(previous, empty_database_url, redis_url, world.own.rpc.endpoint)
    await old.run("migrate")
    market_id = await world.active()
    await world.buy(market_id, HOLDERS[0])
    await old.run("backfill")
    upgraded = [one.name for one in await pending(empty_database_url)]
    assert upgraded, "the release before has the same schema: record a later one in tests/previous_release"
    longest, answered, over = 0.0, 0, asyncio.Event()

    webhook = {"Authorization": shared_secret("webhook")}
    async with old.serving() as client:

        async def use() -> None:
            """Read what no cache has, and write, again and again."""
            nonlocal longest, answered
            while not over.is_set():
                begun = time.monotonic()
                async with client.get(f"/api/markets?limit={answered % 50 + 1}&sort=newest") as answer:
                    assert answer.status == 200, await answer.text()
                # No two are the same, and nobody can read them: they are kept.
                async with client.post("/helius/webhook", json=[{"n": answered}], headers=webhook) as answer:
                    assert answer.status == 200, await answer.text()
                longest, answered = max(longest, (time.monotonic() - begun) / 2), answered + 1

        async def has_answered(count: int) -> None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while answered < count and not any(user.done() for user in users):  # noqa: ASYNC110 - ends with either
                    await asyncio.sleep(0.01)

        users = [asyncio.create_task(use()) for _ in range(2)]
        await has_answered(STEADY_REQUESTS)
        before, longest = longest, 0.0
        applied = await migrate(empty_database_url)
        during = answered
        await has_answered(during + STEADY_REQUESTS)
        over.set()
        await asyncio.gather(*users)
        assert (
            [one.name for one in applied]
            == upgraded
            == [one.name for one in all_migrations()[-len(upgraded) :]]
        )
        tell_reader(
            f"longest request {before * 1000:.0f} ms before, {longest * 1000:.0f} ms during {len(applied)}"
        )

        await world.buy(market_id, HOLDERS[1])
    assert "1 of them missing" in await old.run("backfill")
    await old.run("tick", "reconciler")
    await old.run("tick", "leaderboard")
    assert "0 differences" in await old.run("audit")

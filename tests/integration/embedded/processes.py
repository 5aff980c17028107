"""What tests ask the kernel about processes and files."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def program(pid: int) -> Path:
    return Path(f"/proc/{pid}/exe").readlink()


def exists(path: Path) -> bool:
    return path.exists()


def is_private(path: Path) -> bool:
    return path.stat().st_mode & 0o077 == 0


async def until_gone(pids: Sequence[int], timeout_seconds: float) -> None:
    async with asyncio.timeout(timeout_seconds):
        while True:
            if not any(is_running(pid) for pid in pids):
                return
            await asyncio.sleep(0.02)

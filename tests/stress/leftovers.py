"""What a daemon has for clients: nothing more once they are gone than before they came."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import aiohttp

from tests.stress.system import Daemon

_SIZES = re.compile(
    r"^(zmartd_realtime_entries|zmartd_asyncio_tasks|zmartd_http_connections|zmartd_websocket_connections)"
    r"(?:\{table=\"(\w+)\"\})? (\d+)",
    re.MULTILINE,
)
_STREAMS = "streams"
"""Of them a daemon follows those that clients may come back for."""


async def held(session: aiohttp.ClientSession, daemon: Daemon, servers: Collection[int]) -> Counter[str]:
    """What a daemon has now: entries of tables, tasks, connections, and other descriptors than of `servers`.

    Raises ClientError.
    """
    async with session.get(f"{daemon.operator_url}/metrics") as response:
        found = _SIZES.findall(await response.text())
    sizes = Counter({table or name: int(size) for name, table, size in found if table != _STREAMS})
    return sizes + Counter(descriptors=_descriptors(daemon.pid, servers))


def more(before: Counter[str], after: Counter[str]) -> str:
    """What there is more of, in words; empty if nothing is."""
    return ", ".join(
        f"{name} {before[name]} -> {size}" for name, size in after.items() if size > before[name]
    )


def _descriptors(pid: int, servers: Collection[int]) -> int:
    """How many descriptors a process has open, but for connections to the ports of its servers."""
    ours = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        _, _, remote, *_, inode = line.split()[:10]
        if int(remote.partition(":")[2], 16) in servers:
            ours.add(f"socket:[{inode}]")
    opened = 0
    for descriptor in os.scandir(f"/proc/{pid}/fd"):
        try:
            opened += os.readlink(descriptor.path) not in ours
        except FileNotFoundError:  # closed meanwhile
            continue
    return opened

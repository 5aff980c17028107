"""What a daemon has for clients: nothing more once they are gone than before they came."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
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
    return sizes + Counter(descriptors=descriptors(daemon, servers).total())


def descriptors(daemon: Daemon, servers: Collection[int]) -> Counter[str]:
    """What a daemon has open, by kind, but for connections to `servers`: ports."""
    return Counter(_opened(daemon.pid, servers))


def more(before: Counter[str], after: Counter[str]) -> str:
    """What there is more of, in words; empty if nothing is."""
    return ", ".join(
        f"{name} {before[name]} -> {size}" for name, size in after.items() if size > before[name]
    )


def _opened(pid: int, servers: Collection[int]) -> Iterator[str]:
    """The kinds of a process's descriptors. A connection that is in no table of the kernel has been reset."""
    connections: dict[str, tuple[int, int, str]] = {}
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        _, local_place, remote_place, state, *_, inode = line.split()[:10]
        connections[f"socket:[{inode}]"] = _port(local_place), _port(remote_place), state
    for descriptor in os.scandir(f"/proc/{pid}/fd"):
        try:
            what = os.readlink(descriptor.path)
        except FileNotFoundError:  # closed meanwhile
            continue
        local, remote, state = connections.get(what, (0, 0, ""))
        if remote not in servers:
            yield f"connection of {local} to {remote} in state {state}" if state else what.partition(":[")[0]


def _port(address: str) -> int:
    return int(address.partition(":")[2], 16)

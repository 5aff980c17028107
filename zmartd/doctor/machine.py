"""This machine: ports, file descriptors and room on its disk."""

from __future__ import annotations

import errno
import resource
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

import httpx

from zmartd import endpoint
from zmartd.daemon import OWN_DESCRIPTORS
from zmartd.doctor.check import Check, Outcome, failed, ok, warning
from zmartd.doctor.patient import Patient

_LEAST_FREE_BYTES = 1_073_741_824
_LEAST_FREE_PART = 0.05
_ANSWER_SECONDS = 3.0


async def _ports(patient: Patient) -> Sequence[Outcome]:
    server, operator = patient.settings.server, patient.settings.operator
    found = []
    places = [("server", server.host, server.port)]
    if operator.port:
        places.append(("operator", operator.host, operator.port))
        if (operator.host, operator.port) == (server.host, server.port):
            return [failed(f"both listeners have {server.host}:{server.port}", "change operator.port")]
    for section, host, port in places:
        error = _bound(host, port)
        if error is None:
            found.append(ok(f"{section}: {host}:{port} is free"))
        elif error == errno.EADDRINUSE and await _is_zmartd(host, port):
            found.append(ok(f"{section}: a zmartd serves on {host}:{port}"))
        elif error == errno.EADDRINUSE:
            found.append(
                failed(
                    f"{section}: something else listens on {host}:{port}",
                    f"`ss -ltnp 'sport = :{port}'` names it: stop it, or change {section}.port",
                )
            )
        else:
            found.append(
                failed(
                    f"{section}: no program can listen on {host}:{port} "
                    f"({errno.errorcode.get(error, error)})",
                    f"`ip addr` lists this machine's addresses: change {section}.host or {section}.port",
                )
            )
    return found


def _bound(host: str, port: int) -> int | None:
    """The number of the error where nobody can listen there, else None."""
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error.errno or errno.EADDRNOTAVAIL
    return None


async def _is_zmartd(host: str, port: int) -> bool:
    """Whether what listens there answers /health as a daemon does."""
    url = f"{endpoint.reachable_url('http', host, port)}/health"
    try:
        async with httpx.AsyncClient(timeout=_ANSWER_SECONDS, trust_env=False) as client:
            answer = await client.get(url)
            return "status" in answer.json()
    except (httpx.HTTPError, ValueError, TypeError):
        return False


async def _descriptors(patient: Patient) -> Sequence[Outcome]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    settings = patient.settings
    needed = settings.server.max_connections + OWN_DESCRIPTORS + settings.database.pool_size
    if hard != resource.RLIM_INFINITY and hard < needed:
        return [
            warning(
                f"{hard} file descriptors at most here, and the settings take {needed}: fewer connections "
                "are let in",
                f"LimitNOFILE={needed} in the unit (`ulimit -Hn {needed}` in a shell), or lower "
                f"server.max_connections",
            )
        ]
    limit = "no limit" if hard == resource.RLIM_INFINITY else str(hard)
    return [ok(f"{limit}, and the settings take {needed}")]


async def _disk(patient: Patient) -> Sequence[Outcome]:
    snapshots = patient.settings.tasks.ipfs_snapshot
    places = [Path.cwd()]
    found = []
    if snapshots.enabled and snapshots.pinning == "directory":
        if not _is_directory(snapshots.directory):
            shown = snapshots.directory or "nothing"
            found.append(
                failed(
                    f"tasks.ipfs_snapshot.directory is {shown}, which is no directory",
                    "set it, and `install -d -o <zmartd's user> DIRECTORY`",
                )
            )
        else:
            places.append(Path(snapshots.directory))
    for place in places:
        usage = shutil.disk_usage(place)
        if usage.free < _LEAST_FREE_BYTES or usage.free < _LEAST_FREE_PART * usage.total:
            found.append(
                warning(
                    f"{usage.free / 1e9:.1f} GB are left where {place} is",
                    f"`du -xh --max-depth=2 {place} | sort -h | tail` says what takes the room",
                )
            )
    return found or [ok(f"{shutil.disk_usage(places[-1]).free / 1e9:.0f} GB are free")]


def _is_directory(name: str) -> bool:
    return Path(name).is_dir() if name else False


CHECKS = (
    Check(
        name="ports",
        look=_ports,
        about="the daemon can listen on its addresses, or one listens there already",
        uses=("server.host", "server.port", "operator.host", "operator.port"),
    ),
    Check(
        name="descriptors",
        look=_descriptors,
        about="the limit of file descriptors suffices for server.max_connections",
        uses=("server.max_connections",),
    ),
    Check(
        name="disk",
        look=_disk,
        about="room on the disk of this directory and of tasks.ipfs_snapshot.directory",
    ),
)

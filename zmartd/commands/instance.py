"""The one `zmartd dev` of a data directory: it holds a lock, and says in the lock's file what it runs.

The kernel releases the lock when the process ends, however it ends. So a file that was left behind stops
nothing, and a lock that is held is held by a process that runs.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from msgspec import Struct

MARKER = "zmartd-data"
LOCK = "running.json"
SETTINGS = "dev.toml"
"""The developer's file, which may be there before anything else."""
LOCALNET = "localnet"
"""The chain of `zmartd localnet` in this folder, which may be there before as well."""
PATIENCE_SECONDS = 2.0
"""How long a start waits for the lock: an earlier process may be ending, and `find` holds it briefly."""
_RETRY_SECONDS = 0.05
_MAX_BYTES = 65_536


class Instance(Struct, frozen=True):
    """What a running `zmartd dev` says about itself. `api` and `configuration` are None until it is ready."""

    pid: int
    api: str | None = None
    configuration: str | None = None
    """The path of the zmartd.toml with the settings that it runs with."""


class DataDirectoryInUse(click.ClickException):
    """`zmartd dev` did not make this directory, so it does not use it."""


class AlreadyRunning(click.ClickException):
    """Another `zmartd dev` uses this data directory."""

    exit_code = 3

    def __init__(self, directory: Path, instance: Instance | None) -> None:
        process = f"process {instance.pid}" if instance else "its process is not known yet"
        if instance is None or instance.api is None:
            where = f"{process}, starting or stopping"
        else:
            where = f"{instance.api}, {process}"
        stop = f"`kill {instance.pid}` stops it" if instance else "try again in a moment"
        super().__init__(
            f"already running here: {where}, with its data in {directory}. {stop[0].upper()}{stop[1:]}; "
            "another one beside it needs its own --data-dir, --port and --rpc-port."
        )
        self.instance = instance


class Claim:
    """The lock on a data directory, while it is held."""

    def __init__(self, directory: Path, descriptor: int) -> None:
        self.directory = directory
        self._descriptor = descriptor

    def say(self, instance: Instance) -> None:
        """Write what runs here for other commands to find."""
        text = msgspec.json.encode(instance)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)


@contextmanager
def claimed(directory: Path) -> Iterator[Claim]:
    """Hold a data directory, which is created if it is missing, for the length of a block.

    Raises AlreadyRunning, and DataDirectoryInUse for a directory with other files than zmartd's.
    """
    marker = directory / MARKER
    others = _names(directory) - {SETTINGS, LOCALNET} if directory.exists() else set()
    if others and not marker.exists():
        raise DataDirectoryInUse(
            f"{directory} contains other files than zmartd's data, {min(others)} for one: move them away, or "
            "give --data-dir an empty or new directory"
        )
    # The embedded Postgres may run as another user, who has to enter it.
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    marker.touch()
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _lock(descriptor):
            raise AlreadyRunning(directory, _read(descriptor))
        claim = Claim(directory, descriptor)
        claim.say(Instance(os.getpid()))
        yield claim
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def find(directory: Path) -> Instance | None:
    """The `zmartd dev` that runs on this data directory and is ready, or None."""
    try:
        descriptor = os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        instance = _read(descriptor)
        return instance if instance and instance.api else None
    else:
        return None
    finally:
        os.close(descriptor)


def _names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def _lock(descriptor: int) -> bool:
    """Whether the lock is held now, after waiting for it a moment."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_RETRY_SECONDS)
        else:
            return True


def _read(descriptor: int) -> Instance | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, _MAX_BYTES, 0), type=Instance)
    except msgspec.MsgspecError:
        return None

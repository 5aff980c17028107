"""Pins processes to a CPU core."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


@contextmanager
def on_core(core: int, *parents: int) -> Iterator[None]:
    """Pin this process, and `parents` with their children, to one core for the length of a block."""
    with ExitStack() as before:
        for process in (0, *parents, *(child for parent in parents for child in _children(parent))):
            with suppress(ProcessLookupError):  # it may have ended
                cores = os.sched_getaffinity(process)
                os.sched_setaffinity(process, {core})
                before.callback(_allow, process, cores)
        yield


def _allow(process: int, cores: set[int]) -> None:
    with suppress(ProcessLookupError):
        os.sched_setaffinity(process, cores)


def _children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]

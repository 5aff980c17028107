"""Once a second, this process's memory and how far its indexer is, so that a run's thirds can be compared."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct
from prometheus_client import REGISTRY

from bench.figures import Figure

_APPLIED: Final = "zmartd_indexer_events_total"
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Sample(Struct, frozen=True):
    """What was measured at one time."""

    seconds: float
    """Of the monotonic clock."""
    mebibytes: float
    """The process's resident memory."""
    events: int
    """How many its indexer has applied since it was started."""


@asynccontextmanager
async def sampling() -> AsyncIterator[list[Sample]]:
    """The samples of each second while the context lasts, its first and its last moment among them."""
    samples = [_sample()]

    async def sample() -> None:
        while True:
            await asyncio.sleep(1)
            samples.append(_sample())

    task = asyncio.create_task(sample())
    try:
        yield samples
    finally:
        task.cancel()
        samples.append(_sample())


def memory(samples: Sequence[Sample], note: str) -> list[Figure]:
    """The mean of the first third of the samples, and of the last."""
    first, last = _thirds(samples)
    return [
        Figure("  memory, first third", _mean_mebibytes(first), "MiB", note=note),
        Figure("  memory, last third", _mean_mebibytes(last), "MiB"),
    ]


def rates(samples: Sequence[Sample]) -> list[Figure]:
    """The events per second in the first third of the time, and in the last."""
    first, last = _thirds(samples)
    return [
        Figure("  first third", _events_per_second(first), "events/s"),
        Figure("  last third", _events_per_second(last), "events/s"),
    ]


def _thirds(samples: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample]]:
    third = max(len(samples) // 3, 2)
    return samples[:third], samples[-third:]


def _mean_mebibytes(samples: Sequence[Sample]) -> float:
    return sum(one.mebibytes for one in samples) / len(samples)


def _events_per_second(samples: Sequence[Sample]) -> float:
    began, ended = samples[0], samples[-1]
    return (ended.events - began.events) / (ended.seconds - began.seconds)


def _sample() -> Sample:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Sample(time.monotonic(), pages * _PAGE_BYTES / 2**20, _applied_events())


def _applied_events() -> int:
    families = REGISTRY.restricted_registry([_APPLIED]).collect()
    return int(sum(sample.value for family in families for sample in family.samples))

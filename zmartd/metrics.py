"""Counts and durations of what happens with every request, for Prometheus, at the cost of an addition.

What prometheus_client counts itself takes a lock each time, for programs with threads. All of this is counted
on the event loop alone and read there when the operator asks for `/metrics`. Names and labels are as they are
everywhere.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString


class Count:
    """One number of a counter: `count.value += 1`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Counts(Collector):
    """A counter with one label, whose values are known beforehand."""

    def __init__(
        self,
        name: str,
        meaning: str,
        label: str,
        values: Sequence[str],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._name, self._meaning, self._label = name, meaning, label
        self._counts = {value: Count() for value in values}
        registry.register(self)

    def __getitem__(self, value: str) -> Count:
        return self._counts[value]

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._meaning, labels=[self._label])
        for value, count in self._counts.items():
            family.add_metric([value], count.value)
        yield family


class Duration:
    """The durations of one kind: how many were in each bucket, and their sum."""

    __slots__ = ("_bounds", "counts", "seconds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.seconds += seconds


class Durations(Collector):
    """A histogram of seconds with labels."""

    def __init__(
        self,
        name: str,
        meaning: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._name, self._meaning, self._labels = name, meaning, labels
        self._bounds = tuple(bounds)
        self._kinds: dict[tuple[str, ...], Duration] = {}
        registry.register(self)

    def of(self, *labels: str) -> Duration:
        """The durations with these labels. They stay for good: let labels have few values."""
        kind = self._kinds.get(labels)
        if kind is None:
            kind = self._kinds[labels] = Duration(self._bounds)
        return kind

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._meaning, labels=self._labels)
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for labels, kind in self._kinds.items():
            upward = list(zip(names, accumulate(kind.counts), strict=True))
            family.add_metric(labels, buckets=upward, sum_value=kind.seconds)
        yield family

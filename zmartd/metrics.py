"""Counters and histograms for Prometheus, updated on the event loop alone. Any thread may collect them.

Those of prometheus_client take a lock at each update, for programs with threads; these cost an addition. They
are used in the same way, and /metrics shows them in the same form. A gauge that is set and stays is
prometheus_client's. docs/metrics.md has all of them, and says which are of the whole system.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

DEFAULT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Those of prometheus_client."""


class CounterValue:
    """The value of a counter with certain labels."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        self.value += amount


class Counter(Collector):
    """A number that only grows, per combination of labels."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self.name, self._documentation, self._labels = name, documentation, labels
        self._values: dict[tuple[str, ...], CounterValue] = {}
        if not labels:
            self.labels()
        registry.register(self)

    def labels(self, *values: str) -> CounterValue:
        """The counter with these labels, shown from this call on. It stays: let labels have few values."""
        counter = self._values.get(values)
        if counter is None:
            counter = self._values[values] = CounterValue()
        return counter

    def inc(self, amount: int = 1) -> None:
        """Increment a counter that has no labels."""
        self._values[()].inc(amount)

    def total(self) -> int:
        """The sum over all labels."""
        return sum(counter.value for counter in self._values.values())

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self.name, self._documentation, labels=self._labels)
        for values, counter in list(self._values.items()):
            family.add_metric(values, counter.value)
        yield family


class HistogramValue:
    """The observations with certain labels: how many are in each bucket, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, amount: float) -> None:
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._sum += amount

    @contextmanager
    def time(self) -> Iterator[None]:
        """Observe how many seconds the block takes, also when it raises."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - began)

    @property
    def number(self) -> int:
        """How many observations there are."""
        return sum(self._counts)

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        family.add_metric(labels, buckets=buckets, sum_value=self._sum)


class Histogram(Collector):
    """Observations in buckets, per combination of labels. `buckets` are their upper bounds."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        buckets: Sequence[float] = DEFAULT_BUCKETS,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self._bounds = tuple(buckets)
        self._values: dict[tuple[str, ...], HistogramValue] = {}
        registry.register(self)

    def labels(self, *values: str) -> HistogramValue:
        """The histogram with these labels, shown from this call on. It stays: let labels have few values."""
        histogram = self._values.get(values)
        if histogram is None:
            histogram = self._values[values] = HistogramValue(self._bounds)
        return histogram

    def numbers(self) -> dict[tuple[str, ...], int]:
        """How many observations there are, by labels."""
        return {labels: histogram.number for labels, histogram in self._values.items()}

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, histogram in list(self._values.items()):
            histogram.add_to(family, values)
        yield family


class Measured(Collector):
    """A gauge, per combination of labels, that is measured when it is collected."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self.measure: Callable[[], Mapping[tuple[str, ...], float]] = dict
        """Gives the values by their labels. Any thread may call it."""
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, number in self.measure().items():
            family.add_metric(values, number)
        yield family


class Remembered(Collector):
    """A gauge, per combination of labels, that is shown for a while after it was set: what is older says
    nothing about the present.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        *,
        fresh_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self._fresh_seconds = fresh_seconds
        self._monotonic = monotonic
        self._values: dict[tuple[str, ...], tuple[float, float]] = {}
        registry.register(self)

    def set(self, number: float, *values: str) -> None:
        """What is so now, for these labels. They stay in memory: let labels have few values."""
        self._values[values] = self._monotonic(), number

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        oldest = self._monotonic() - self._fresh_seconds
        for values, (at, number) in list(self._values.items()):
            if at >= oldest:
                family.add_metric(values, number)
        yield family

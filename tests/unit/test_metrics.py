from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from zmartd.metrics import Counts, Durations


def told(registry: CollectorRegistry) -> list[str]:
    """What Prometheus is told, but for when it began."""
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


def test_counts_are_told_from_nought_on() -> None:
    registry = CollectorRegistry()
    requests = Counts("requests", "Requests", "outcome", ("admitted", "refused"), registry)
    requests["refused"].value += 2
    assert told(registry)[2:] == [
        'requests_total{outcome="admitted"} 0.0',
        'requests_total{outcome="refused"} 2.0',
    ]


def test_durations_are_told_as_the_clients_own_histogram_tells_them() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    names, bounds = ["method", "status"], (0.001, 0.25, 5)
    durations = Durations("seconds", "Time", names, bounds, ours)
    histogram = Histogram("seconds", "Time", names, buckets=bounds, registry=theirs)
    for seconds in (0.0, 0.001, 0.0011, 0.25, 4.0, 5.0, 100.0):
        durations.of("GET", "200").observe(seconds)
        histogram.labels("GET", "200").observe(seconds)
    durations.of("POST", "201").observe(0.1)
    histogram.labels("POST", "201").observe(0.1)
    assert told(ours) == told(theirs)

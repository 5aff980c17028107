from __future__ import annotations

import prometheus_client
from prometheus_client import CollectorRegistry, generate_latest

from tests.integration.tasks.manual_clock import ManualClock
from zmartd.metrics import Counter, Histogram, Measured, Remembered


def exposed(registry: CollectorRegistry) -> list[str]:
    """What /metrics shows, without the times of creation."""
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


def test_counters_are_exposed_as_those_of_the_client_library_from_zero_on() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    for count, registry in ((Counter, ours), (prometheus_client.Counter, theirs)):
        requests = count("requests", "Requests", ["method", "outcome"], registry=registry)
        requests.labels("GET", "admitted")
        requests.labels("GET", "refused").inc(2)
        requests.labels("GET", "refused").inc()
        count("frames_total", "Frames", registry=registry)
        count("bytes_total", "Bytes", registry=registry).inc(5)
    assert exposed(ours) == exposed(theirs)
    assert 'requests_total{method="GET",outcome="refused"} 3.0' in exposed(ours)


def test_histograms_are_exposed_as_those_of_the_client_library() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    for histogram, registry in ((Histogram, ours), (prometheus_client.Histogram, theirs)):
        durations = histogram(
            "seconds", "Time", ["method", "status"], buckets=(0.001, 0.25, 5), registry=registry
        )
        for seconds in (0.0, 0.001, 0.0011, 0.25, 4.0, 5.0, 100.0):
            durations.labels("GET", "200").observe(seconds)
        durations.labels("POST", "201").observe(0.1)
    assert exposed(ours) == exposed(theirs)


def test_what_is_measured_is_so_when_it_is_shown() -> None:
    registry, clients = CollectorRegistry(), list[str]()
    measured = Measured("entries", "Entries", ["table", "kind"], registry)
    assert not any(line.startswith("entries{") for line in exposed(registry))
    measured.measure = lambda: {("clients", "a"): len(clients), ("sessions", "b"): 2}
    clients.append("a client")
    assert 'entries{kind="a",table="clients"} 1.0' in exposed(registry)
    assert 'entries{kind="b",table="sessions"} 2.0' in exposed(registry)


def test_what_is_remembered_is_shown_until_it_is_old() -> None:
    registry, clock = CollectorRegistry(), ManualClock()
    skew = Remembered("skew", "Skew", ["of"], fresh_seconds=60, monotonic=clock.monotonic, registry=registry)
    skew.set(1.5, "redis")
    clock.advance(50)
    skew.set(0, "postgres")
    clock.advance(10)
    assert exposed(registry)[2:] == ['skew{of="redis"} 1.5', 'skew{of="postgres"} 0.0']
    clock.advance(0.1)
    assert exposed(registry)[2:] == ['skew{of="postgres"} 0.0']

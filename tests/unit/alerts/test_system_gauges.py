"""What /metrics says of the whole system, and for how long."""

from __future__ import annotations

from prometheus_client.registry import CollectorRegistry

from tests.integration.tasks.manual_clock import ManualClock
from zmartd.alerts.system_gauges import FRESH_SECONDS, SystemGauges
from zmartd.store.system_gauges import AuditGauges, SystemFigures

FIGURES = SystemFigures(
    open_alerts={"parked": 9},
    stuck={"RESOLVING": 3},
    disputes_awaiting=1,
    disputes_announced=2,
    strangers_resolutions=4,
    approvals_awaiting=5,
    successes={"auditor": 77.0},
    audit=AuditGauges(6, 7, 8, 99.0),
)


def test_figures_of_the_system_are_shown_while_they_are_fresh() -> None:
    clock, registry = ManualClock(), CollectorRegistry()
    gauges = SystemGauges(clock, registry)
    assert list(registry.collect()) == []
    gauges.show(FIGURES)
    clock.advance(FRESH_SECONDS)
    shown = {
        (sample.name.removeprefix("zmartd_"), *sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
    }
    assert shown == {
        ("alerts_open", "parked"): 9,
        ("markets_stuck", "RESOLVING"): 3,
        ("markets_stuck", "DISPUTED"): 0,
        ("task_last_success_timestamp_seconds", "auditor"): 77,
        ("disputes_awaiting_decision",): 1,
        ("disputes_announced",): 2,
        ("resolutions_by_strangers",): 4,
        ("proposals_awaiting_approval",): 5,
        ("audit_differences",): 6,
        ("audit_failed_markets",): 7,
        ("audit_moving_markets",): 8,
        ("audit_oldest_timestamp_seconds",): 99,
    }
    clock.advance(0.1)
    assert list(registry.collect()) == []

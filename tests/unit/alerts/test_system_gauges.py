"""What /metrics says of the whole system, and for how long."""

from __future__ import annotations

from prometheus_client.registry import CollectorRegistry

from tests.integration.tasks.manual_clock import ManualClock
from zmartd.alerts.system_gauges import FRESH_SECONDS, PREFIX, SystemGauges
from zmartd.store.system_gauges import AuditGauges, OpenAlerts, SystemFigures

FIGURES = SystemFigures(
    open_alerts=(OpenAlerts("parked", "warning", 9),),
    stuck={"RESOLVING": 3},
    disputes_awaiting=1,
    disputes_announced=2,
    strangers_resolutions=4,
    approvals_awaiting=5,
    successes={"auditor": 77.0},
    audit=AuditGauges(6, 7, 8, 99.0),
    pending_deliveries=10,
    parked_deliveries=11,
    oldest_seconds=12.5,
    delivered_at=None,
    parked_transactions={"failed": 13},
    incomplete_transactions=14,
    quarantined_events=15,
    failed_transitions=16,
    newest_slot=100,
    lag_slots=17,
    due={"alerts": 88.0},
    held_leases=18,
    expired_leases=19,
    lock_waits=20,
    database_bytes=None,
)


def test_figures_of_the_system_are_shown_while_they_are_fresh() -> None:
    clock, registry = ManualClock(), CollectorRegistry()
    gauges = SystemGauges(clock, registry)
    assert list(registry.collect()) == []
    gauges.show(FIGURES)
    clock.advance(FRESH_SECONDS)
    shown = {
        (sample.name.removeprefix(PREFIX), *sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
    }
    assert shown == {
        ("alerts_open", "parked", "warning"): 9,
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
        ("inbox_deliveries", "pending"): 10,
        ("inbox_deliveries", "parked"): 11,
        ("inbox_oldest_seconds",): 12.5,
        ("parked_transactions", "failed"): 13,
        ("parked_transactions", "refused"): 0,
        ("parked_transactions", "unreadable"): 0,
        ("parked_transactions", "withheld"): 0,
        ("incomplete_transactions",): 14,
        ("quarantined_events",): 15,
        ("failed_transitions",): 16,
        ("chain_slot",): 100,
        ("index_lag_slots",): 17,
        ("task_next_due_timestamp_seconds", "alerts"): 88,
        ("task_leases", "held"): 18,
        ("task_leases", "expired"): 19,
        ("database_lock_waits",): 20,
    }
    clock.advance(0.1)
    assert list(registry.collect()) == []

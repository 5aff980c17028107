"""Facts of a system in which all is well, and changes of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from zmartd.alerts.rule import ChainFacts, Facts
from zmartd.store.alert_facts import IndexFacts, Several
from zmartd.store.daemons import DaemonRow, Vitals

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
AUTHORITY = "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"


def daemon(number: int = 1, *, place: str = "host:4000", ago: float = 86_400, **vitals: Any) -> DaemonRow:
    """One that reports, started so many seconds ago, and takes webhooks."""
    vitals = {"takes_webhooks": True} | vitals
    return DaemonRow(
        instance=UUID(int=number),
        place=place,
        started_at=NOW - timedelta(seconds=ago),
        seen_at=NOW,
        stopped_at=None,
        vitals=Vitals(descriptors=50, descriptor_limit=1_000, **vitals)
        if "descriptors" not in vitals
        else Vitals(**vitals),
    )


INDEX = IndexFacts(
    now=NOW,
    evaluations=0,
    failed_transitions=Several(0),
    awaiting_decision=Several(0),
    quarantined_events=0,
    parked_transactions=0,
    parked_deliveries=0,
    delivered_seconds=10.0,
    making_up_runs=0,
    reconciled_seconds=20.0,
    reconciling_seconds=86_400.0,
    lag_slots=3,
    overdue_seconds={},
    audit_differences=Several(0),
    uncompared={},
    database_bytes=None,
)
CHAIN = ChainFacts(authority=AUTHORITY, authority_lamports=10**9, ahead_seconds=0.5, stuck=())
WELL = Facts(index=INDEX, chain=CHAIN, daemons=(daemon(),))


def index(**changed: Any) -> Facts:
    return replace(WELL, index=replace(INDEX, **changed))


def chain(**changed: Any) -> Facts:
    return replace(WELL, chain=replace(CHAIN, **changed))


def daemons(*rows: DaemonRow) -> Facts:
    return replace(WELL, daemons=rows)

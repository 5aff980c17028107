"""The gauges of the whole system. Every daemon shows them, as it last read them from Postgres.

What a task sets in its own process would stay as it was when another daemon takes over the task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, get_args

from msgspec import Struct
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from zmartd.alerts.market_rules import MOVED_BY_TASKS
from zmartd.clock import Clock, SystemClock
from zmartd.store import parked
from zmartd.store.system_gauges import AuditGauges, SystemFigures

FRESH_SECONDS: Final = 30.0
"""What was read before says nothing about the present, and is not shown."""
PREFIX: Final = "zmartd_system_"
"""How the names of all these begin, and no other one's."""

Values = Mapping[tuple[str, ...], float]


class SystemGauge(Struct, frozen=True):
    """One of them. `values` gives its values by those of its labels; none where there is nothing to say."""

    name: str
    """Without PREFIX."""
    documentation: str
    values: Callable[[SystemFigures], Values]
    labels: tuple[str, ...] = ()

    def family(self) -> GaugeMetricFamily:
        """Without values."""
        return GaugeMetricFamily(PREFIX + self.name, self.documentation, labels=self.labels)


class SystemGauges(Collector):
    """Shows what it was given last, while that is fresh. Any thread may collect them."""

    def __init__(self, clock: Clock, registry: CollectorRegistry = REGISTRY) -> None:
        self._clock = clock
        self._shown: tuple[float, SystemFigures] | None = None
        registry.register(self)

    def show(self, figures: SystemFigures) -> None:
        """Show these from now on."""
        self._shown = self._clock.monotonic(), figures

    def describe(self) -> list[GaugeMetricFamily]:
        """All of them, whatever is shown at present."""
        return [gauge.family() for gauge in GAUGES]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if self._shown is None or self._clock.monotonic() - self._shown[0] > FRESH_SECONDS:
            return
        figures = self._shown[1]
        for gauge in GAUGES:
            family = gauge.family()
            for labels, value in gauge.values(figures).items():
                family.add_metric(labels, value)
            yield family


def _one(value: float | None) -> Values:
    return {} if value is None else {(): value}


def _by(values: Mapping[str, float]) -> Values:
    return {(label,): value for label, value in values.items()}


def _of_audit(value: Callable[[AuditGauges], float]) -> Callable[[SystemFigures], Values]:
    return lambda figures: {} if figures.audit is None else {(): value(figures.audit)}


GAUGES: Final = (
    SystemGauge(
        "alerts_open",
        "Alerts of the daemons' own rules (docs/alerts.md) that are open.",
        lambda figures: {(one.rule, one.severity): one.number for one in figures.open_alerts},
        ("rule", "severity"),
    ),
    SystemGauge(
        "markets_stuck",
        "Markets that the alert stuck_markets is open for.",
        lambda figures: _by({one.name: figures.stuck.get(one.name, 0) for one in sorted(MOVED_BY_TASKS)}),
        ("state",),
    ),
    SystemGauge(
        "failed_transitions",
        "Markets that could not be moved on.",
        lambda figures: _one(figures.failed_transitions),
    ),
    SystemGauge(
        "disputes_awaiting_decision",
        "Disputes whose votes decide nothing, so that an admin has to.",
        lambda figures: _one(figures.disputes_awaiting),
    ),
    SystemGauge(
        "disputes_announced",
        "Disputes that their votes will settle unless an admin decides otherwise.",
        lambda figures: _one(figures.disputes_announced),
    ),
    SystemGauge(
        "resolutions_by_strangers",
        "Markets whose outcome a stranger proposed and that await a decision.",
        lambda figures: _one(figures.strangers_resolutions),
    ),
    SystemGauge(
        "proposals_awaiting_approval",
        "Proposed markets that enough wallets like, and that only the admin can approve.",
        lambda figures: _one(figures.approvals_awaiting),
    ),
    SystemGauge(
        "inbox_deliveries",
        "Webhook deliveries that are not indexed: pending (up to 100,000), or parked for an operator.",
        lambda figures: _by({"pending": figures.pending_deliveries, "parked": figures.parked_deliveries}),
        ("status",),
    ),
    SystemGauge(
        "inbox_oldest_seconds",
        "For how long the first pending webhook delivery has waited; 0 where there is none.",
        lambda figures: _one(figures.oldest_seconds),
    ),
    SystemGauge(
        "webhook_last_delivery_timestamp_seconds",
        "When a webhook last delivered something.",
        lambda figures: _one(figures.delivered_at),
    ),
    SystemGauge(
        "parked_transactions",
        "Transactions on the chain that could not be read or applied yet.",
        lambda figures: _by(
            {reason: figures.parked_transactions.get(reason, 0) for reason in get_args(parked.Reason)}
        ),
        ("reason",),
    ),
    SystemGauge(
        "incomplete_transactions",
        "Transactions with truncated logs whose events cannot be inferred, or contradict the accounts.",
        lambda figures: _one(figures.incomplete_transactions),
    ),
    SystemGauge(
        "quarantined_events",
        "Data lines of the program that cannot be decoded.",
        lambda figures: _one(figures.quarantined_events),
    ),
    SystemGauge(
        "chain_slot",
        "The newest slot that a node told.",
        lambda figures: _one(figures.newest_slot),
    ),
    SystemGauge(
        "index_lag_slots",
        "Slots before the newest one in which the index may lack something.",
        lambda figures: _one(figures.lag_slots),
    ),
    SystemGauge(
        "task_last_success_timestamp_seconds",
        "When a task last finished a run without failing, on whichever daemon.",
        lambda figures: _by(figures.successes),
        ("task",),
    ),
    SystemGauge(
        "task_next_due_timestamp_seconds",
        "The first instant of a task that no row of the ledger has; not of one that is paused, or runs.",
        lambda figures: _by(figures.due),
        ("task",),
    ),
    SystemGauge(
        "task_leases",
        "Runs of tasks under way: held by a daemon, or expired, as their daemon is gone or frozen.",
        lambda figures: _by({"held": figures.held_leases, "expired": figures.expired_leases}),
        ("state",),
    ),
    SystemGauge(
        "audit_differences",
        "Values of the index that differ from the chain's accounts.",
        _of_audit(lambda audit: audit.differences),
    ),
    SystemGauge(
        "audit_failed_markets",
        "Markets that the auditor could not compare.",
        _of_audit(lambda audit: audit.failed_markets),
    ),
    SystemGauge(
        "audit_moving_markets",
        "Markets that changed while the auditor compared them.",
        _of_audit(lambda audit: audit.moving_markets),
    ),
    SystemGauge(
        "audit_oldest_timestamp_seconds",
        "When the market was compared that has waited longest; 0 where one never was.",
        _of_audit(lambda audit: audit.oldest),
    ),
    SystemGauge(
        "database_bytes",
        "Size of the database, counted once a minute.",
        lambda figures: _one(figures.database_bytes),
    ),
    SystemGauge(
        "database_lock_waits",
        "Sessions of the database that wait for a lock.",
        lambda figures: _one(figures.lock_waits),
    ),
)

SYSTEM: Final = SystemGauges(SystemClock())

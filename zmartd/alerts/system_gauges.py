"""The gauges of the whole system. Every daemon shows them, as it last read them from Postgres.

What a task sets in its own process would stay as it was when another daemon takes over the task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from zmartd.alerts.market_rules import MOVED_BY_TASKS
from zmartd.clock import Clock, SystemClock
from zmartd.store.system_gauges import SystemFigures

FRESH_SECONDS: Final = 30.0
"""What was read before says nothing about the present, and is not shown."""


class SystemGauges(Collector):
    """Shows what it was given last, while that is fresh. Any thread may collect them."""

    def __init__(self, clock: Clock, registry: CollectorRegistry = REGISTRY) -> None:
        self._clock = clock
        self._shown: tuple[float, SystemFigures] | None = None
        registry.register(self)

    def show(self, figures: SystemFigures) -> None:
        """Show these from now on."""
        self._shown = self._clock.monotonic(), figures

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if self._shown is None or self._clock.monotonic() - self._shown[0] > FRESH_SECONDS:
            return
        figures = self._shown[1]
        yield _gauge("zmartd_alerts_open", "Alerts that are open.", figures.open_alerts, "rule")
        yield _gauge(
            "zmartd_markets_stuck",
            "Markets that the alert stuck_markets is open for.",
            {state.name: figures.stuck.get(state.name, 0) for state in sorted(MOVED_BY_TASKS)},
            "state",
        )
        yield _gauge(
            "zmartd_task_last_success_timestamp_seconds",
            "When a task last finished a run without failing, on whichever daemon.",
            figures.successes,
            "task",
        )
        numbers: dict[str, tuple[str, float]] = {
            "zmartd_disputes_awaiting_decision": (
                "Disputes whose votes decide nothing, so that an admin has to.",
                figures.disputes_awaiting,
            ),
            "zmartd_disputes_announced": (
                "Disputes that their votes will settle unless an admin decides otherwise.",
                figures.disputes_announced,
            ),
            "zmartd_resolutions_by_strangers": (
                "Markets whose outcome a stranger proposed and that await a decision.",
                figures.strangers_resolutions,
            ),
            "zmartd_proposals_awaiting_approval": (
                "Proposed markets that enough wallets like, and that only the admin can approve.",
                figures.approvals_awaiting,
            ),
        }
        if (audit := figures.audit) is not None:
            numbers |= {
                "zmartd_audit_differences": (
                    "Values of the index that differ from the chain's accounts.",
                    audit.differences,
                ),
                "zmartd_audit_failed_markets": (
                    "Markets that the auditor could not compare.",
                    audit.failed_markets,
                ),
                "zmartd_audit_moving_markets": (
                    "Markets that changed while the auditor compared them.",
                    audit.moving_markets,
                ),
                "zmartd_audit_oldest_timestamp_seconds": (
                    "When the market was compared that has waited longest; 0 where one never was.",
                    audit.oldest,
                ),
            }
        for name, (documentation, value) in numbers.items():
            yield _gauge(name, documentation, {"": value})


def _gauge(
    name: str, documentation: str, values: Mapping[str, float], label: str | None = None
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=[] if label is None else [label])
    for value, number in values.items():
        family.add_metric([] if label is None else [value], number)
    return family


SYSTEM: Final = SystemGauges(SystemClock())

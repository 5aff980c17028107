"""For each rule, how its series look while all is well, and while what it is about has happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

BREAKS_AT, MENDED_AT, ENDS_AT = 130, 160, 240
"""Minutes: a rule has to fire at the end of the break, and neither at its beginning nor at the end."""
TARGET = 'instance="a:1",job="zmartd"'

Value = Callable[[int], float | None]
"""The value of a series by the minute; None where it is not shown."""


class Case(Struct, frozen=True):
    """`fires_for` are the labels of what fires, without those that the rule adds."""

    alert: str
    series: Mapping[str, Value]
    fires_for: Mapping[str, str] = {}


def is_broken(minute: int) -> bool:
    return BREAKS_AT < minute <= MENDED_AT


def becomes(broken: float | None, well: float | None = 0) -> Value:
    return lambda minute: broken if is_broken(minute) else well


def grows(broken: float, well: float = 0) -> Value:
    """A counter that grows by so much a minute."""

    def value(minute: int) -> float:
        past_break = min(max(minute - BREAKS_AT, 0), MENDED_AT - BREAKS_AT)
        return well * (minute - past_break) + broken * past_break

    return value


def always(number: float) -> Value:
    return lambda _: number


def seconds_ago(broken: float, well: float = 10) -> Value:
    """A moment that is so long ago."""
    return lambda minute: minute * 60 - (broken if is_broken(minute) else well)


def stops(minute: int) -> float:
    """A moment that is the present one, and stays as it was during the break."""
    return 60.0 * (BREAKS_AT if is_broken(minute) else minute)


def started_again(minute: int) -> float:
    """When a process began that dies every five minutes during the break."""
    restarts = min(max(minute - BREAKS_AT, 0), MENDED_AT - BREAKS_AT) // 5
    return 60.0 * restarts


def of(metric: str, **labels: str) -> str:
    """A series of one daemon."""
    own = "".join(f'{name}="{value}",' for name, value in labels.items())
    return f"{metric}{{{own}{TARGET}}}"


_REQUESTS = "zmartd_http_request_duration_seconds_count"
_TASK = "zmartd_system_task_last_success_timestamp_seconds"
HERE: Mapping[str, str] = {"instance": "a:1", "job": "zmartd"}
INSTANCE: Mapping[str, str] = {"instance": "a:1"}


def _check(name: str) -> Mapping[str, Value]:
    return {of("zmartd_health_check", check=name): becomes(0, well=1)}


def _gauge(metric: str, broken: float, **labels: str) -> Mapping[str, Value]:
    return {of(metric, **labels): becomes(broken)}


CASES: tuple[Case, ...] = (
    Case("ZmartdDown", {of("up"): becomes(0, well=1)}, HERE),
    Case("ZmartdAbsent", {of("up"): becomes(None, well=1)}, {"job": "zmartd"}),
    Case("ZmartdRestarts", {of("process_start_time_seconds"): started_again}, HERE),
    Case(
        "ZmartdApiErrors",
        {
            of(_REQUESTS, method="GET", route="/api/markets", status="200"): grows(93, well=100),
            of(_REQUESTS, method="GET", route="/api/markets", status="503"): grows(7),
            of(_REQUESTS, method="POST", route="/helius/webhook", status="503"): grows(100),
        },
    ),
    Case(
        "ZmartdWebSocketDisconnects",
        {
            of("zmartd_websocket_connections"): always(15),
            of("zmartd_websocket_opened_connections_total"): grows(10),
            of("zmartd_websocket_lost_connections_total"): grows(10),
        },
    ),
    Case(
        "ZmartdDatabaseFailures",
        {
            of("zmartd_database_failures_total", reason="timeout"): grows(1),
            of("zmartd_database_failures_total", reason="unavailable"): grows(1),
        },
    ),
    Case("ZmartdDatabaseAway", _check("database"), {**HERE, "check": "database"}),
    Case("ZmartdRedisAway", _check("redis"), {**HERE, "check": "redis"}),
    Case("ZmartdCheckFails", _check("rpc"), {**HERE, "check": "rpc"}),
    Case(
        "ZmartdClockSkew",
        _gauge("zmartd_clock_skew_seconds", -4, against="redis"),
        {**HERE, "against": "redis"},
    ),
    Case(
        "ZmartdChainClockSkew",
        _gauge("zmartd_clock_skew_seconds", 121, against="chain"),
        {**HERE, "against": "chain"},
    ),
    Case(
        "ZmartdEventLoopLag",
        {
            of("zmartd_event_loop_lag_seconds_count"): grows(240, well=240),
            of("zmartd_event_loop_lag_seconds_bucket", le="2.0"): grows(239, well=240),
        },
        HERE,
    ),
    Case(
        "ZmartdDescriptors",
        {of("process_open_fds"): becomes(900, well=700), of("process_max_fds"): always(1_000)},
        HERE,
    ),
    Case(
        "ZmartdConnectionsRefused",
        {of("zmartd_http_refused_connections_total", of="one site"): grows(1)},
        {**INSTANCE, "of": "one site"},
    ),
    Case("ZmartdUntrustedForwarding", {of("zmartd_http_untrusted_forwarding_total"): grows(1)}, HERE),
    Case("ZmartdLogLinesDropped", {of("zmartd_log_dropped_lines_total"): grows(1)}, HERE),
    Case(
        "ZmartdPoolExhausted", _gauge("zmartd_pool_waiting", 3, pool="postgres"), {**HERE, "pool": "postgres"}
    ),
    Case(
        "ZmartdRpcFailures",
        {
            of("zmartd_rpc_failures_total", method="getSlot", reason="timeout"): grows(40, well=1),
            of("zmartd_rpc_seconds_count", method="getSlot"): grows(60, well=99),
        },
        INSTANCE,
    ),
    Case("ZmartdStreamLag", _gauge("zmartd_stream_lag_seconds", 6), HERE),
    Case(
        "ZmartdRealtimeDegraded",
        _gauge("zmartd_realtime_degraded", 1, reason="chain"),
        {**HERE, "reason": "chain"},
    ),
    Case(
        "ZmartdAlertsNotDelivered",
        {
            of("zmartd_alert_deliveries_total", receiver="webhook", outcome="failed"): grows(1),
            of("zmartd_alert_deliveries_total", receiver="webhook", outcome="delivered"): grows(0, well=1),
        },
        {"receiver": "webhook"},
    ),
    Case(
        "ZmartdTaskFails",
        {
            of("zmartd_task_runs_total", task="reconciler", outcome="failed"): grows(1),
            of("zmartd_task_runs_total", task="reconciler", outcome="done"): grows(0, well=1),
        },
        {"task": "reconciler"},
    ),
    Case("ZmartdUnreadableMarkets", {of("zmartd_task_unreadable_markets_total"): grows(1)}, HERE),
    Case(
        "ZmartdSystemUnknown",
        {of("up"): always(1), of("zmartd_system_failed_transitions"): becomes(None)},
    ),
    Case("ZmartdReconcilerLag", {of(_TASK, task="reconciler"): stops}),
    Case("ZmartdIndexLag", _gauge("zmartd_system_index_lag_slots", 151)),
    Case(
        "ZmartdParked",
        {
            **_gauge("zmartd_system_parked_transactions", 0, reason="failed"),
            **_gauge("zmartd_system_inbox_deliveries", 1, status="parked"),
            of("zmartd_system_inbox_deliveries", status="pending"): always(5),
            **_gauge("zmartd_system_quarantined_events", 0),
        },
    ),
    Case("ZmartdIncompleteTransactions", _gauge("zmartd_system_incomplete_transactions", 1)),
    Case("ZmartdInboxAge", _gauge("zmartd_system_inbox_oldest_seconds", 61)),
    Case(
        "ZmartdWebhookSilent",
        {
            of("zmartd_system_webhook_last_delivery_timestamp_seconds"): stops,
            of("zmartd_task_actions_total", task="reconciler", action="apply_missing", ok="true"): grows(1),
        },
    ),
    Case("ZmartdFailedTransitions", _gauge("zmartd_system_failed_transitions", 2)),
    Case(
        "ZmartdStuckMarkets",
        _gauge("zmartd_system_markets_stuck", 1, state="RESOLVING"),
        {"state": "RESOLVING"},
    ),
    Case(
        "ZmartdAwaitingDecision",
        {
            **_gauge("zmartd_system_disputes_awaiting_decision", 0),
            **_gauge("zmartd_system_resolutions_by_strangers", 1),
            **_gauge("zmartd_system_proposals_awaiting_approval", 0),
        },
    ),
    Case("ZmartdAuthorityBalance", {of("zmartd_authority_lamports"): becomes(49_999_999, well=10**9)}),
    Case(
        "ZmartdUnexplainedInstants",
        {of("zmartd_system_task_next_due_timestamp_seconds", task="alerts"): seconds_ago(130, well=-10)},
        {"task": "alerts"},
    ),
    Case("ZmartdRunsAbandoned", _gauge("zmartd_system_task_leases", 1, state="expired")),
    Case("ZmartdAuditDifferences", _gauge("zmartd_system_audit_differences", 1)),
    Case("ZmartdAuditIncomplete", _gauge("zmartd_system_audit_failed_markets", 1)),
    Case("ZmartdLockWaits", _gauge("zmartd_system_database_lock_waits", 1)),
    Case(
        "ZmartdOwnAlert",
        _gauge("zmartd_system_alerts_open", 1, rule="database_full", severity="critical"),
        {"rule": "database_full", "severity": "critical"},
    ),
)

OTHER_WAYS: tuple[Case, ...] = (
    Case(
        "ZmartdParked",
        {
            **_gauge("zmartd_system_parked_transactions", 1, reason="failed"),
            **_gauge("zmartd_system_inbox_deliveries", 0, status="parked"),
            **_gauge("zmartd_system_quarantined_events", 0),
        },
    ),
    Case("ZmartdParked", _gauge("zmartd_system_quarantined_events", 1)),
    Case(
        "ZmartdWebhookSilent",
        {
            of("zmartd_system_webhook_last_delivery_timestamp_seconds"): becomes(None, well=None),
            of("zmartd_task_actions_total", task="reconciler", action="apply_missing", ok="true"): grows(1),
        },
    ),
    Case("ZmartdAuditIncomplete", {of("zmartd_system_audit_oldest_timestamp_seconds"): seconds_ago(7_300)}),
    Case("ZmartdCheckFails", _check("descriptors"), {**HERE, "check": "descriptors"}),
    Case(
        "ZmartdClockSkew",
        _gauge("zmartd_clock_skew_seconds", 700, against="postgres"),
        {**HERE, "against": "postgres"},
    ),
    Case(
        "ZmartdOwnAlert",
        _gauge("zmartd_system_alerts_open", 1, rule="database_read_only", severity="critical"),
        {"rule": "database_read_only", "severity": "critical"},
    ),
)
"""Other ways in which some of them come to fire."""

ALMOST: tuple[Case, ...] = (
    Case("ZmartdApiErrors", {of(_REQUESTS, method="GET", route="/api/markets", status="503"): grows(19)}),
    Case(
        "ZmartdApiErrors",
        {
            of(_REQUESTS, method="GET", route="/api/markets", status="200"): grows(95),
            of(_REQUESTS, method="GET", route="/api/markets", status="500"): grows(5),
        },
    ),
    Case("ZmartdClockSkew", _gauge("zmartd_clock_skew_seconds", 100, against="chain")),
    Case("ZmartdClockSkew", _gauge("zmartd_clock_skew_seconds", 2.9, against="redis")),
    Case("ZmartdDatabaseFailures", {of("zmartd_database_failures_total", reason="timeout"): grows(0.9)}),
    Case("ZmartdDescriptors", {of("process_open_fds"): becomes(800), of("process_max_fds"): always(1_000)}),
    Case("ZmartdIndexLag", _gauge("zmartd_system_index_lag_slots", 150)),
    Case("ZmartdWebhookSilent", {of("zmartd_system_webhook_last_delivery_timestamp_seconds"): stops}),
    Case(
        "ZmartdWebSocketDisconnects",
        {
            of("zmartd_websocket_connections"): always(0),
            of("zmartd_websocket_opened_connections_total"): grows(3),
            of("zmartd_websocket_lost_connections_total"): grows(3),
        },
    ),
    Case("ZmartdAuditIncomplete", {of("zmartd_system_audit_oldest_timestamp_seconds"): always(0)}),
    Case("ZmartdOwnAlert", _gauge("zmartd_system_alerts_open", 1, rule="parked", severity="warning")),
    Case(
        "ZmartdTaskFails",
        {
            of("zmartd_task_runs_total", task="reconciler", outcome="failed"): grows(1),
            of("zmartd_task_runs_total", task="reconciler", outcome="done"): grows(1),
        },
    ),
)
"""What must not make them fire."""


def values(case: Case) -> dict[str, list[float | None]]:
    """The series of a case, minute by minute."""
    return {name: [value(minute) for minute in range(ENDS_AT + 1)] for name, value in case.series.items()}

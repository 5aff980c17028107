"""prometheus/: each rule is right, is about metrics that there are, fires, and is over again."""

from __future__ import annotations

import re
from pathlib import Path

from tests.promql import known_series, unknown_in
from tests.promtool import RULES_FILE, Played, run, shipped_rules, test_rules
from tests.unit.monitoring.rule_cases import (
    ALMOST,
    BREAKS_AT,
    CASES,
    ENDS_AT,
    MENDED_AT,
    OTHER_WAYS,
    Case,
    values,
)
from zmartd.alert_settings import AlertSettings
from zmartd.alerts.rules import RULES

SHIPPED = {rule["alert"]: rule for rule in shipped_rules()}
OWN_ALERT = "ZmartdOwnAlert"


def test_promtool_finds_no_fault_in_the_rules() -> None:
    done = run("check", "rules", str(RULES_FILE))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len(SHIPPED)} rules found" in done.stdout


def test_every_metric_and_label_of_a_rule_is_there() -> None:
    known = known_series()
    assert {name: found for name, rule in SHIPPED.items() if (found := unknown_in(rule["expr"], known))} == {}


def test_what_is_not_there_would_be_found() -> None:
    known = known_series()
    for expression, wrong in {
        'sum by (task) (rate(zmartd_task_runs_totl{task="a"}[5m]))': [
            "metric zmartd_task_runs_totl",
            "label task of zmartd_task_runs_totl",
            "label task",
        ],
        'zmartd_task_runs_total{taks="a"} offset 5m > 0': ["label taks of zmartd_task_runs_total"],
        "max by (market) (zmartd_system_markets_stuck)": ["label market"],
        "zmartd_stream_lag_seconds_bucket": ["metric zmartd_stream_lag_seconds_bucket"],
    }.items():
        assert unknown_in(expression, known) == wrong


def test_every_series_that_the_rules_are_played_with_is_one_that_a_daemon_shows() -> None:
    known = known_series()
    for case in (*CASES, *OTHER_WAYS, *ALMOST):
        for series in case.series:
            assert unknown_in(series, known) == [], case.alert
            name, inside = series.rstrip("}").split("{")
            assert set(re.findall(r'(\w+)="', inside)) == known[name], series


def test_every_rule_fires_and_is_over_again(tmp_path: Path) -> None:
    assert [case.alert for case in CASES] == list(SHIPPED), "each has a case, in their order"
    done = test_rules(tmp_path, [_fires(case) for case in (*CASES, *OTHER_WAYS)])
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_rule_fires_below_its_threshold(tmp_path: Path) -> None:
    quiet: dict[int, list[dict[str, str]]] = {minute: [] for minute in range(0, ENDS_AT, 5)}
    done = test_rules(tmp_path, [Played(SHIPPED[case.alert], values(case), quiet) for case in ALMOST])
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_that_does_not_fire_would_be_found(tmp_path: Path) -> None:
    quiet = Case("ZmartdStreamLag", {}, {"instance": "a:1", "job": "zmartd"})
    assert test_rules(tmp_path, [_fires(quiet)]).returncode != 0


def test_each_rule_of_the_daemons_is_looked_for_once_with_its_severity_remedy_and_threshold() -> None:
    forwarded = set(re.search(r'rule=~"([^"]+)"', SHIPPED[OWN_ALERT]["expr"])[1].split("|"))  # type: ignore[index]
    of_rule = {name: rule for name, rule in SHIPPED.items() if "rule" in rule.get("labels", {})}
    assert {rule["labels"]["rule"] for rule in of_rule.values()} | forwarded == set(RULES)
    assert not {rule["labels"]["rule"] for rule in of_rule.values()} & forwarded
    for rule in of_rule.values():
        ours = RULES[rule["labels"]["rule"]]
        assert rule["labels"]["severity"] == ours.severity, rule["alert"]
        assert rule["annotations"]["description"] == ours.remedy, rule["alert"]


def test_thresholds_are_the_defaults_of_the_settings() -> None:
    defaults = AlertSettings()
    for alert, threshold in {
        "ZmartdRestarts": f"> {defaults.restarts_per_hour}",
        "ZmartdApiErrors": f"> {defaults.api_errors_bps / 10_000:g}",
        "ZmartdWebSocketDisconnects": f"> {defaults.websocket_lost_bps / 10_000:g}",
        "ZmartdDatabaseFailures": f"> {defaults.database_failures}",
        "ZmartdClockSkew": f"> {defaults.clock_skew_seconds:g}",
        "ZmartdChainClockSkew": f"> {defaults.chain_skew_seconds:g}",
        "ZmartdEventLoopLag": f'le="{defaults.event_loop_lag_seconds}"',
        "ZmartdDescriptors": f"> {defaults.descriptors_bps / 10_000:g}",
        "ZmartdReconcilerLag": f"> {defaults.reconciler_lag_seconds}",
        "ZmartdIndexLag": f"> {defaults.index_lag_slots}",
        "ZmartdParked": f"> {defaults.parked}",
        "ZmartdWebhookSilent": f"> {defaults.webhook_silent_seconds}",
        "ZmartdFailedTransitions": f"> {defaults.failed_transitions}",
        "ZmartdStuckMarkets": f"> {defaults.stuck_markets}",
        "ZmartdAuthorityBalance": f"< {defaults.authority_min_lamports}",
        "ZmartdUnexplainedInstants": f"> {defaults.unexplained_seconds}",
        "ZmartdAuditDifferences": f"> {defaults.audit_differences}",
        "ZmartdAuditIncomplete": f"> {defaults.audit_overdue_seconds}",
    }.items():
        assert threshold in SHIPPED[alert]["expr"], alert


def test_every_rule_says_what_has_happened_and_what_to_do() -> None:
    for name, rule in SHIPPED.items():
        assert name.startswith("Zmartd")
        assert rule["annotations"]["summary"].endswith((".", "}}.")), name
        assert rule["annotations"]["description"].endswith((".", "?")), name
        severity = rule.get("labels", {}).get("severity")
        assert severity in {"critical", "warning"} or name == OWN_ALERT, name


def _fires(case: Case) -> Played:
    rule = SHIPPED[case.alert]
    firing = {**case.fires_for, **rule.get("labels", {})}
    return Played(rule, values(case), {BREAKS_AT: [], MENDED_AT: [firing], ENDS_AT: []})

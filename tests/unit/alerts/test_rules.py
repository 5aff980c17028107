"""Each rule on both sides of its threshold."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import fields, replace

from tests.unit.alerts.alert_facts import AUTHORITY, CHAIN, NOW, WELL, chain, daemon, daemons, index
from zmartd.alert_settings import AlertSettings
from zmartd.alerts.rule import Facts, Finding
from zmartd.alerts.rules import RULES
from zmartd.market.lifecycle import MarketState
from zmartd.store.alert_facts import Several, Waiting
from zmartd.store.daemons import DaemonRow
from zmartd.store.due_markets import StuckMarkets

SETTINGS = AlertSettings(database_max_bytes=1_000)


def found(rule: str, facts: Facts, settings: AlertSettings = SETTINGS) -> list[Finding]:
    findings = RULES[rule].find(facts, settings)
    assert findings is not None
    return list(findings)


def starts(number: int, *, stopped: bool = False, apart: float = 60.0) -> Facts:
    """A daemon that is there since yesterday, and so many that followed it."""
    rows = [daemon(0)]
    rows += [daemon(one, ago=apart * (number - one + 1)) for one in range(1, number + 1)]
    return daemons(*(replace(one, stopped_at=NOW if stopped else None) for one in rows))


def test_nothing_is_found_where_all_is_well() -> None:
    assert {name: found(name, WELL) for name in RULES} == {name: [] for name in RULES}


@pytest.mark.parametrize(
    ("rule", "below", "above", "value"),
    [
        ("restarts", starts(3), starts(4), 4),
        (
            "api_errors",
            daemons(daemon(1, requests=60, request_errors=5), daemon(2, requests=40)),
            daemons(daemon(1, requests=60, request_errors=5), daemon(2, requests=40, request_errors=1)),
            0.06,
        ),
        (
            "api_errors",
            daemons(daemon(requests=99, request_errors=99)),
            daemons(daemon(requests=100, request_errors=99)),
            0.99,
        ),
        (
            "websocket_disconnects",
            daemons(daemon(websockets=20, websockets_lost=10)),
            daemons(daemon(websockets=20, websockets_lost=11)),
            0.55,
        ),
        (
            "websocket_disconnects",
            daemons(daemon(websockets=19, websockets_lost=19)),
            daemons(daemon(websockets=20, websockets_lost=19)),
            0.95,
        ),
        (
            "database_failures",
            daemons(daemon(1, database_failures=2), daemon(2, database_failures=3)),
            daemons(daemon(1, database_failures=3), daemon(2, database_failures=3)),
            6,
        ),
        (
            "redis_failures",
            daemons(daemon(redis_failing_seconds=30.0)),
            daemons(daemon(1, redis_failing_seconds=31.0), daemon(2, redis_failing_seconds=45.0)),
            45.0,
        ),
        (
            "clock_skew",
            daemons(daemon(1, clock_skew_seconds=3.0), daemon(2, clock_skew_seconds=-3.0)),
            daemons(daemon(clock_skew_seconds=-3.1)),
            3.1,
        ),
        ("chain_clock_skew", chain(ahead_seconds=-120.0), chain(ahead_seconds=120.5), 120.5),
        (
            "event_loop_lag",
            daemons(daemon(loop_lag_seconds=2.0)),
            daemons(daemon(loop_lag_seconds=2.5)),
            2.5,
        ),
        (
            "descriptors",
            daemons(daemon(descriptors=800, descriptor_limit=1_000)),
            daemons(daemon(descriptors=801, descriptor_limit=1_000)),
            0.801,
        ),
        ("failed_transitions", WELL, index(failed_transitions=Several(1, ("m (BoundedLoss)",))), 1),
        (
            "stuck_markets",
            chain(stuck=(StuckMarkets(MarketState.ACTIVE, 7, ("m",)),)),
            chain(stuck=(StuckMarkets(MarketState.RESOLVING, 2, ("m", "n")),)),
            2,
        ),
        ("awaiting_decision", WELL, index(awaiting_decision=Several(2, ("m", "n"))), 2),
        (
            "authority_balance",
            chain(authority_lamports=50_000_000),
            chain(authority_lamports=49_999_999),
            49_999_999,
        ),
        ("reconciler_lag", index(reconciled_seconds=600.0), index(reconciled_seconds=601.0), 601.0),
        (
            "reconciler_lag",
            index(reconciled_seconds=None, reconciling_seconds=600.0),
            index(reconciled_seconds=None, reconciling_seconds=601.0),
            601.0,
        ),
        ("reconciler_lag", index(lag_slots=150), index(lag_slots=151), 151),
        ("parked", WELL, index(quarantined_events=1), 1),
        ("parked", WELL, index(parked_transactions=2), 2),
        ("parked", WELL, index(parked_deliveries=3), 3),
        (
            "webhook_silent",
            index(delivered_seconds=900.0, making_up_runs=5),
            index(delivered_seconds=901.0, making_up_runs=5),
            5,
        ),
        (
            "webhook_silent",
            index(delivered_seconds=None, making_up_runs=1),
            index(delivered_seconds=None, making_up_runs=2),
            2,
        ),
        (
            "audit_differences",
            index(audit_differences=Several(0)),
            index(audit_differences=Several(3, ("m",))),
            3,
        ),
        (
            "audit_incomplete",
            WELL,
            index(uncompared={"failing": Waiting(2, 901.0, ("m", "n"))}),
            901.0,
        ),
        ("unexplained_instants", WELL, index(overdue_seconds={"reconciler": 121.0}), 121.0),
        ("database_full", index(database_bytes=1_000), index(database_bytes=1_001), 1_001),
    ],
)
def test_a_rule_finds_what_exceeds_its_threshold_and_nothing_else(
    rule: str, below: Facts, above: Facts, value: float
) -> None:
    assert found(rule, below) == []
    (finding,) = found(rule, above)
    assert finding.value == pytest.approx(value)


def test_a_webhook_is_silent_only_where_a_daemon_takes_it() -> None:
    silent = index(delivered_seconds=None, making_up_runs=9)
    without = daemon(1, takes_webhooks=False)
    assert found("webhook_silent", replace(silent, daemons=(without,))) == []
    assert len(found("webhook_silent", replace(silent, daemons=(without, daemon(2))))) == 1


def test_markets_that_were_not_compared_are_told_with_why_and_how_long() -> None:
    waiting = {name: Waiting(7, 8_000.0, ("m", "n")) for name in ("moving", "failing", "overdue")}
    findings = found("audit_incomplete", index(uncompared=waiting))
    assert [one.subject for one in findings] == ["failing", "moving", "overdue"]
    assert findings[0].summary == (
        "7 markets could not be read or compared for up to 8000 s; 900 s are allowed: m, n and 5 more"
    )
    assert "7200 s are allowed" in findings[2].summary


def test_a_threshold_is_the_operators() -> None:
    facts = index(parked_transactions=2)
    assert found("parked", facts, AlertSettings(parked=2)) == []
    assert found("parked", facts, AlertSettings(parked=1)) != []


def test_every_setting_of_a_threshold_is_one_and_belongs_to_a_rule() -> None:
    general = {
        *("remind_seconds", "resolve_after_seconds", "window_seconds", "attempt_seconds", "keep_days"),
        *("webhook", "slack"),
    }
    thresholds = {field.name for field in fields(AlertSettings)} - general
    assert {name for rule in RULES.values() for name in rule.settings} == thresholds


def test_values_that_differ_are_not_counted_as_markets() -> None:
    (finding,) = found("audit_differences", index(audit_differences=Several(3, ("m",))))
    assert finding.summary == "3 values of the index differ from the accounts on the chain: m"


@pytest.mark.parametrize("rule", ["stuck_markets", "authority_balance", "chain_clock_skew"])
def test_what_only_the_chain_knows_is_unknown_without_it(rule: str) -> None:
    assert RULES[rule].find(replace(WELL, chain=None), SETTINGS) is None


def test_a_machines_clock_is_known_without_the_chain() -> None:
    facts = replace(daemons(daemon(clock_skew_seconds=-3.1)), chain=None)
    assert [one.subject for one in found("clock_skew", facts)] == ["host:4000"]


def test_restarts_say_how_many_did_not_end_in_order() -> None:
    (died,) = found("restarts", starts(4))
    (stopped,) = found("restarts", starts(4, stopped=True))
    assert "4 times within an hour, 4 times after one that did not stop in order" in died.summary
    assert "0 times after one that did not stop in order" in stopped.summary
    assert died.subject == "host:4000"


def test_new_daemons_and_old_starts_are_no_restarts() -> None:
    several = [daemon(number, place=f"host:{number}", ago=60) for number in range(10)]
    assert found("restarts", daemons(*several)) == []
    assert found("restarts", starts(4, apart=3_000)) == []


def silent(row: DaemonRow) -> DaemonRow:
    return replace(row, seen_at=NOW - timedelta(seconds=31))


def test_a_daemon_that_is_gone_says_nothing_about_the_present() -> None:
    busy = daemon(requests=1_000, request_errors=1_000, loop_lag_seconds=60.0)
    assert found("api_errors", daemons(busy)) != []
    for gone in (silent(busy), replace(busy, stopped_at=NOW)):
        assert found("api_errors", daemons(gone)) == []
        assert found("event_loop_lag", daemons(gone)) == []


def test_a_summary_names_what_it_is_about() -> None:
    (low,) = found("authority_balance", replace(WELL, chain=replace(CHAIN, authority_lamports=5)))
    assert AUTHORITY in low.summary
    (stuck,) = found("stuck_markets", chain(stuck=(StuckMarkets(MarketState.DISPUTED, 3, ("aa", "bb")),)))
    assert (stuck.subject, stuck.summary) == (
        "DISPUTED",
        "3 DISPUTED markets are more than an hour overdue: aa, bb and 1 more",
    )

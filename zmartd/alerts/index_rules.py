"""Rules about the index, and about the database that holds it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from zmartd.alert_settings import AlertSettings
from zmartd.alerts.rule import Facts, Finding, Rule

SILENT_RUNS: Final = 2
"""So many runs of the reconciler that found something are no accident any more."""


def reconciler_lag(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    index = facts.index
    seconds = index.reconciled_seconds if index.reconciled_seconds is not None else index.reconciling_seconds
    if seconds is not None and seconds > settings.reconciler_lag_seconds:
        yield Finding(
            seconds,
            f"the reconciler last ended a run well {seconds:.0f} s ago; "
            f"{settings.reconciler_lag_seconds} s are allowed",
            "runs",
        )
    if index.lag_slots is not None and index.lag_slots > settings.index_lag_slots:
        yield Finding(
            index.lag_slots,
            f"the index may lack something for {index.lag_slots} slots; "
            f"{settings.index_lag_slots} are allowed",
            "slots",
        )


def parked(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    for subject, number, command in (
        ("events", facts.index.quarantined_events, "zmartd backfill --quarantine"),
        ("transactions", facts.index.parked_transactions, "zmartd inbox parked"),
        ("deliveries", facts.index.parked_deliveries, "zmartd inbox list"),
    ):
        if number > settings.parked:
            yield Finding(number, f"{number} {subject} are set aside: see `{command}`", subject)


def webhook_silent(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    seconds, runs = facts.index.delivered_seconds, facts.index.making_up_runs
    is_silent = seconds is None or seconds > settings.webhook_silent_seconds
    is_wanted = any(one.vitals.takes_webhooks for one in facts.alive)
    if is_wanted and is_silent and runs >= SILENT_RUNS:
        since = "ever" if seconds is None else f"for {seconds:.0f} s"
        yield Finding(
            runs,
            f"no webhook has delivered anything {since}, and {runs} runs of the reconciler found what was "
            "missing",
        )


def database_full(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    used, most = facts.index.database_bytes, settings.database_max_bytes
    if used is not None and most and used > most:
        yield Finding(used, f"the database has {used} bytes; {most} are allowed")


def never(_facts: Facts, _settings: AlertSettings) -> Iterator[Finding]:
    """For what keeps the rules from being evaluated: a daemon that sees it alerts by itself."""
    return iter(())


RULES: Final = (
    Rule(
        name="reconciler_lag",
        severity="critical",
        meaning="The index is behind the chain, or is not compared with it any more.",
        remedy="`zmartd tasks explain reconciler` says why; `zmartd check` whether the RPC node answers.",
        settings=("reconciler_lag_seconds", "index_lag_slots"),
        find=reconciler_lag,
        lasts_seconds=30.0,
    ),
    Rule(
        name="parked",
        severity="warning",
        meaning="Something could not be read or applied, and was set aside; the index goes on without it.",
        remedy="`zmartd inbox parked`, `zmartd inbox list` and `zmartd backfill --quarantine` list it, "
        "with reasons; README.md says what to do about each.",
        settings=("parked",),
        find=parked,
    ),
    Rule(
        name="webhook_silent",
        severity="warning",
        meaning="Transactions reach the index through the reconciler alone, later than they should.",
        remedy="Look at the webhook at Helius: is it there, enabled, with this daemon's URL and credential? "
        '`zmartd_http_request_duration_seconds{route="/helius/webhook"}` counts what is refused.',
        settings=("webhook_silent_seconds",),
        find=webhook_silent,
    ),
    Rule(
        name="database_full",
        severity="critical",
        meaning="Postgres has no room left, or soon will have none.",
        remedy="Give it a larger disk. What is kept how long is in zmartd.toml.",
        settings=("database_max_bytes", "database_seconds"),
        find=database_full,
    ),
    Rule(
        name="database_read_only",
        severity="critical",
        meaning="Postgres takes no writes: it is a standby, or its host has made it read-only.",
        remedy="Let `database.url` lead to the primary; look at the host's console.",
        settings=("database_seconds",),
        find=never,
    ),
)

"""From what the rules find to open, reminded and resolved alerts, and to the messages about them.

One transaction changes the alerts and queues the messages, so that both are there or neither. Whoever is
killed after it has lost nothing; whoever is killed before it has done nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from asyncpg import Connection
from msgspec import Struct
from msgspec.structs import replace

from zmartd.alert_settings import AlertSettings
from zmartd.alerts.messages import Kind, about, encoded, new_id
from zmartd.alerts.rule import Facts, Finding, Rule
from zmartd.log import get_logger
from zmartd.store import alert_deliveries, alerts
from zmartd.store.alert_deliveries import NewDelivery
from zmartd.store.alerts import MAX_SUBJECT, Alert, NewAlert, SeenAgain

log = get_logger(__name__)

MAX_SUBJECTS: Final = 20
"""Of one rule that are told, besides those that are known. The others are counted in the last's summary."""


Key = tuple[str, str]
"""A rule's name and a subject."""


class Found(Struct, frozen=True):
    """What the rules say: findings by rule and subject, and the rules that could say nothing."""

    findings: Mapping[Key, Finding]
    unknown: frozenset[str]


class Changes(Struct, frozen=True):
    """What becomes of alerts."""

    pending: tuple[NewAlert, ...] = ()
    """New ones that have to last before somebody is told."""
    opened: tuple[NewAlert, ...] = ()
    seen: tuple[SeenAgain, ...] = ()
    quiet: tuple[int, ...] = ()
    resolved: tuple[int, ...] = ()
    forgotten: tuple[int, ...] = ()


class Told(Struct, frozen=True):
    """The alerts about which messages were queued."""

    opened: tuple[Alert, ...] = ()
    reminded: tuple[Alert, ...] = ()
    resolved: tuple[Alert, ...] = ()


def find(rules: Iterable[Rule], facts: Facts, settings: AlertSettings) -> Found:
    """Ask every rule."""
    findings: dict[Key, Finding] = {}
    unknown = set()
    for rule in rules:
        found = rule.find(facts, settings)
        if found is None:
            unknown.add(rule.name)
            continue
        for one in found:
            findings[rule.name, one.subject[:MAX_SUBJECT]] = one
    return Found(findings, frozenset(unknown))


def _bounded(found: Mapping[Key, Finding], known: Container[Key]) -> dict[Key, Finding]:
    """The findings that are told: those that are known, and of each rule others up to MAX_SUBJECTS."""
    by_rule: dict[str, list[Key]] = defaultdict(list)
    for key in found:
        by_rule[key[0]].append(key)
    shown: dict[Key, Finding] = {}
    for keys in by_rule.values():
        first = sorted(keys, key=lambda key: (key not in known, key))
        chosen = set(first[: max(MAX_SUBJECTS, sum(key in known for key in keys))])
        told = [key for key in keys if key in chosen]
        shown |= {key: found[key] for key in told}
        if more := len(keys) - len(told):
            last = found[told[-1]]
            shown[told[-1]] = replace(last, summary=f"{last.summary}; and {more} more like it")
    return shown


def judge(
    found: Found,
    known: Sequence[Alert],
    rules: Mapping[str, Rule],
    settings: AlertSettings,
    now: datetime,
) -> Changes:
    """What becomes of the alerts in `known`, the unresolved ones, and of what is new.

    Nothing happens to those of a rule that could say nothing.
    """
    by_key = {(one.rule, one.subject): one for one in known}
    shown = _bounded(found.findings, by_key)
    new = [(rules[key[0]], finding) for key, finding in shown.items() if key not in by_key]
    gone = [one for key, one in by_key.items() if key not in found.findings and one.rule not in found.unknown]
    opened = [one for one in gone if one.opened_at is not None]
    is_over = {one.id for one in opened if _is_over(one, settings, now)}
    return Changes(
        pending=tuple(_new(rule, finding) for rule, finding in new if rule.lasts_seconds > 0),
        opened=tuple(_new(rule, finding) for rule, finding in new if rule.lasts_seconds <= 0),
        seen=tuple(
            _seen(alert, rules[alert.rule], shown[key], settings, now)
            for key, alert in by_key.items()
            if key in shown
        ),
        quiet=tuple(one.id for one in opened if one.quiet_since is None and one.id not in is_over),
        resolved=tuple(sorted(is_over)),
        forgotten=tuple(one.id for one in gone if one.opened_at is None),
    )


def _is_over(alert: Alert, settings: AlertSettings, now: datetime) -> bool:
    """Whether what was found has been gone for long enough."""
    since = now if alert.quiet_since is None else alert.quiet_since
    return now - since >= timedelta(seconds=settings.resolve_after_seconds)


def _new(rule: Rule, finding: Finding) -> NewAlert:
    return NewAlert(rule.name, finding.subject, rule.severity, finding.summary, finding.value)


def _seen(alert: Alert, rule: Rule, finding: Finding, settings: AlertSettings, now: datetime) -> SeenAgain:
    if alert.opened_at is None:
        tells = now - alert.first_seen >= timedelta(seconds=rule.lasts_seconds)
    else:
        tells = alert.acknowledged_at is None and (
            alert.told_at is None or now - alert.told_at >= timedelta(seconds=settings.remind_seconds)
        )
    return SeenAgain(alert.id, rule.severity, finding.summary, finding.value, tells)


async def evaluate(
    connection: Connection,
    facts: Facts,
    rules: Mapping[str, Rule],
    settings: AlertSettings,
    receivers: Sequence[str],
) -> Told:
    """Change the alerts, and queue the messages for each receiver, in this transaction.

    Does nothing where another evaluation was written since these facts were read: they may be older than its.
    """
    found = find(rules.values(), facts, settings)
    await alerts.lock(connection)
    if not await alerts.supersede(connection, facts.index.evaluations):
        log.info("alerts.evaluation_superseded")
        return Told()
    known = await alerts.unresolved(connection)
    now = facts.now
    changes = judge(found, known, rules, settings, now)
    if changes.forgotten:
        await alerts.forget(connection, changes.forgotten)
    if changes.quiet:
        await alerts.quieten(connection, changes.quiet, now)
    if changes.pending:
        await alerts.add(connection, changes.pending, now, opened=False)
    opened = await alerts.add(connection, changes.opened, now, opened=True) if changes.opened else []
    seen = await alerts.see_again(connection, changes.seen, now) if changes.seen else []
    resolved = await alerts.resolve(connection, changes.resolved, now) if changes.resolved else []
    tells = {one.id for one in changes.seen if one.tells}
    told = [one for one in seen if one.id in tells]
    opened += [one for one in told if one.opened_at == now]
    reminded = [one for one in told if one.opened_at != now]
    messages = [
        delivery
        for kind, those in _kinds(opened, reminded, resolved)
        for alert in those
        for delivery in _deliveries(kind, alert, rules.get(alert.rule), receivers, now)
    ]
    if messages:
        await alert_deliveries.add(connection, messages, now)
    return Told(tuple(opened), tuple(reminded), tuple(resolved))


def _kinds(
    opened: Sequence[Alert], reminded: Sequence[Alert], resolved: Sequence[Alert]
) -> tuple[tuple[Kind, Sequence[Alert]], ...]:
    return ("alert.opened", opened), ("alert.reminder", reminded), ("alert.resolved", resolved)


def _deliveries(
    kind: Kind, alert: Alert, rule: Rule | None, receivers: Sequence[str], now: datetime
) -> list[NewDelivery]:
    body, message_id = encoded(about(kind, alert, rule, now)), new_id()
    return [NewDelivery(message_id, alert.id, receiver, body) for receiver in receivers]

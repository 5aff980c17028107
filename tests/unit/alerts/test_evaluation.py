"""What becomes of an alert from one evaluation to the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from tests.unit.alerts.alert_facts import NOW, WELL
from zmartd.alert_settings import AlertSettings
from zmartd.alerts.evaluation import MAX_SUBJECTS, Changes, Found, find, judge
from zmartd.alerts.rule import Facts, Finding, Rule
from zmartd.store.alerts import Alert, NewAlert

SETTINGS = AlertSettings(remind_seconds=3_600, resolve_after_seconds=300)


def nothing(_: Facts, __: AlertSettings) -> Iterable[Finding]:
    return ()


AT_ONCE = Rule(name="at_once", severity="critical", meaning="", remedy="", settings=(), find=nothing)
LASTING = replace(AT_ONCE, name="lasting", lasts_seconds=60.0)
RULES = {rule.name: rule for rule in (AT_ONCE, LASTING)}
ALERT = Alert(
    id=7,
    rule="at_once",
    subject="",
    severity="critical",
    summary="",
    value=1,
    count=1,
    first_seen=NOW,
    last_seen=NOW,
    opened_at=NOW,
    quiet_since=None,
    acknowledged_at=None,
    acknowledged_by=None,
    acknowledged_because=None,
    resolved_at=None,
    told_at=NOW,
    last_delivered_at=None,
)
PENDING = replace(ALERT, rule="lasting", opened_at=None, told_at=None)


def later(
    seconds: float, alert: Alert, *, is_found: bool, unknown: Iterable[str] = (), **changed: Any
) -> Changes:
    """What becomes of `alert` so many seconds after NOW."""
    findings = {(alert.rule, alert.subject): Finding(2, "two")} if is_found else {}
    return judge(
        Found(findings, frozenset(unknown)),
        [replace(alert, **changed)],
        RULES,
        SETTINGS,
        NOW + timedelta(seconds=seconds),
    )


def first(rule: str) -> Changes:
    return judge(Found({(rule, ""): Finding(2, "two")}, frozenset()), [], RULES, SETTINGS, NOW)


def test_what_is_found_is_opened_at_once_or_when_it_has_lasted() -> None:
    assert first("at_once") == Changes(opened=(NewAlert("at_once", "", "critical", "two", 2),))
    assert first("lasting") == Changes(pending=(NewAlert("lasting", "", "critical", "two", 2),))
    assert [one.tells for one in later(59, PENDING, is_found=True).seen] == [False]
    assert [one.tells for one in later(60, PENDING, is_found=True).seen] == [True]


def test_what_has_not_lasted_is_forgotten() -> None:
    assert later(30, PENDING, is_found=False) == Changes(forgotten=(7,))


def test_an_alert_is_resolved_when_its_cause_has_been_gone_for_long_enough() -> None:
    assert later(15, ALERT, is_found=False) == Changes(quiet=(7,))
    quiet = replace(ALERT, quiet_since=NOW)
    assert later(299, quiet, is_found=False) == Changes()
    assert later(300, quiet, is_found=False) == Changes(resolved=(7,))
    assert later(299, quiet, is_found=True).resolved == ()


def test_nothing_changes_while_a_rule_can_say_nothing() -> None:
    for alert in (ALERT, replace(ALERT, quiet_since=NOW)):
        assert later(10_000, alert, is_found=False, unknown=["at_once"]) == Changes()
    assert later(10_000, PENDING, is_found=False, unknown=["lasting"]) == Changes()


def test_an_alert_of_a_rule_that_is_no_more_ends() -> None:
    assert later(300, ALERT, is_found=False, rule="of_old", quiet_since=NOW).resolved == (7,)


def test_somebody_is_reminded_unless_it_is_acknowledged() -> None:
    assert [one.tells for one in later(3_599, ALERT, is_found=True).seen] == [False]
    assert [one.tells for one in later(3_600, ALERT, is_found=True).seen] == [True]
    acknowledged = later(9_999, ALERT, is_found=True, acknowledged_at=NOW, acknowledged_by="me")
    assert [one.tells for one in acknowledged.seen] == [False]


def about(*subjects: str) -> Rule:
    """A rule that finds something about each of these."""
    findings = [Finding(1, "one of many", subject) for subject in subjects]
    return replace(AT_ONCE, find=lambda _facts, _settings: findings)


def judged(rule: Rule, known: Sequence[Alert], seconds: float = 0) -> Changes:
    found = find([rule], WELL, SETTINGS)
    return judge(found, known, {rule.name: rule}, SETTINGS, NOW + timedelta(seconds=seconds))


def test_subjects_are_bounded_and_the_rest_is_counted() -> None:
    opened = judged(about(*(f"{number:04}" for number in range(1_000))), []).opened
    assert [one.subject for one in opened] == [f"{number:04}" for number in range(MAX_SUBJECTS)]
    assert [one.summary for one in opened][-2:] == ["one of many", "one of many; and 980 more like it"]


def test_a_known_subject_stays_while_it_is_found_however_many_come_before_it() -> None:
    known = [replace(ALERT, id=1, subject="m"), replace(ALERT, id=2, subject="z", quiet_since=NOW)]
    before = [f"a{number:04}" for number in range(1_000)]
    changes = judged(about(*before, "m", "z"), known, seconds=10_000)
    assert (changes.quiet, changes.resolved) == ((), ())
    assert [one.id for one in changes.seen] == [1, 2]
    assert [one.subject for one in changes.opened] == before[: MAX_SUBJECTS - 2]
    assert changes.seen[-1].summary == "one of many; and 982 more like it"
    over = judged(about(*before), known, seconds=10_000)
    assert (over.quiet, over.resolved) == ((1,), (2,))

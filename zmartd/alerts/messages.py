"""What receivers are told: the JSON of a signed message, and the text for a chat."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import uuid4

import msgspec
from msgspec import Struct

from zmartd.alerts.rule import Rule
from zmartd.market.iso_time import iso_time, iso_time_or_none
from zmartd.store.alerts import Alert, Severity

Kind = Literal["alert.opened", "alert.reminder", "alert.resolved", "alert.test"]
_WORDS: Final[dict[Kind, str]] = {
    "alert.opened": "ALERT",
    "alert.reminder": "STILL",
    "alert.resolved": "RESOLVED",
    "alert.test": "TEST",
}


class AlertData(Struct, frozen=True, kw_only=True):
    """An alert, as receivers get it."""

    number: int | None
    """Its number for `zmartd alerts ack`; None while the database that gives numbers is away."""
    rule: str
    subject: str
    severity: Severity
    summary: str
    measured: float
    meaning: str
    remedy: str
    count: int
    first_seen: str
    last_seen: str
    resolved_at: str | None


class Message(Struct, frozen=True):
    """The body of a message, as Standard Webhooks recommends: what it is, of when, and the facts."""

    type: Kind
    timestamp: str
    data: AlertData


def new_id() -> str:
    """A webhook-id."""
    return f"msg_{uuid4().hex}"


def about(kind: Kind, alert: Alert, rule: Rule | None, now: datetime) -> Message:
    """The message about an alert. `rule` is None where this version does not know it any more."""
    return Message(
        kind,
        iso_time(now),
        AlertData(
            number=alert.id,
            rule=alert.rule,
            subject=alert.subject,
            severity=alert.severity,
            summary=alert.summary,
            measured=alert.value,
            meaning="" if rule is None else rule.meaning,
            remedy="" if rule is None else rule.remedy,
            count=alert.count,
            first_seen=iso_time(alert.first_seen),
            last_seen=iso_time(alert.last_seen),
            resolved_at=iso_time_or_none(alert.resolved_at),
        ),
    )


def outage(kind: Kind, rule: Rule, summary: str, seconds: float, now: datetime) -> Message:
    """The message of a daemon that sees by itself what keeps the rules from being evaluated."""
    return Message(
        kind,
        iso_time(now),
        AlertData(
            number=None,
            rule=rule.name,
            subject="",
            severity=rule.severity,
            summary=summary,
            measured=seconds,
            meaning=rule.meaning,
            remedy=rule.remedy,
            count=1,
            first_seen=iso_time(now - timedelta(seconds=seconds)),
            last_seen=iso_time(now),
            resolved_at=None,
        ),
    )


def test_message(now: datetime, by: str) -> Message:
    """What `zmartd alerts test` sends."""
    return Message(
        "alert.test",
        iso_time(now),
        AlertData(
            number=None,
            rule="test",
            subject="",
            severity="warning",
            summary=f"{by} tries whether alerts arrive here",
            measured=0.0,
            meaning="Nothing is wrong.",
            remedy="Nothing is to be done.",
            count=1,
            first_seen=iso_time(now),
            last_seen=iso_time(now),
            resolved_at=None,
        ),
    )


def encoded(message: Message) -> str:
    """The body, whose bytes are signed."""
    return msgspec.json.encode(message).decode()


def decoded(body: str) -> Message:
    """The message of a body. Raises msgspec.DecodeError."""
    return msgspec.json.decode(body, type=Message)


def chat_text(message: Message) -> str:
    """The text for Slack and the like; what Slack would read as its own marks is escaped."""
    data = message.data
    about_it = f" {data.subject}" if data.subject else ""
    lines = [f"*{_WORDS[message.type]}* [{data.severity}] {data.rule}{about_it}", data.summary]
    if message.type != "alert.resolved":
        lines.append(f"{data.meaning} {data.remedy}".strip())
        if data.number is not None:
            lines.append(f"`zmartd alerts ack {data.number} --because TEXT` ends reminders.")
    text = "\n".join(line for line in lines if line)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

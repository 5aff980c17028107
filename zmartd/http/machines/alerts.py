"""GET /api/admin/alerts, and acknowledging one."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from msgspec import Meta, Struct

from zmartd.chain.admins import NotTheAdmin
from zmartd.chain.program_accounts import ProtocolNotInitialized
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.http.kit import keys
from zmartd.http.kit.fields import Field, Text, Time
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.kit.pagination import (
    Limit,
    NextCursor,
    NextPage,
    PageLength,
    decode_cursor,
    encode_cursor,
)
from zmartd.http.kit.path_variables import PathVariable
from zmartd.market.iso_time import iso_time, iso_time_or_none
from zmartd.store import alerts
from zmartd.store.alerts import Alert, AlertNotFound, AlertPageKey, Severity

_MAY = "may see alerts and acknowledge them"


class AlertNumber(Field, str):
    """An alert's number."""

    MOST_DIGITS: ClassVar[int] = 18
    schema: ClassVar[dict[str, Any]] = {"type": "string", "pattern": "^[0-9]{1,18}$"}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        text = str(raw)
        if not (text.isascii() and text.isdecimal() and len(text) <= cls.MOST_DIGITS):
            raise ValueError("not a number")
        return cls(text)


ALERT = PathVariable(AlertNumber, "an alert's number, of up to 18 digits")


class AlertsQuery(Struct, frozen=True, kw_only=True):
    status: Annotated[Literal["open", "resolved", "all"], Meta(description="open, resolved or all")] = "all"
    """Which alerts to list."""
    limit: Limit = 20
    cursor: NextCursor = None


class AcknowledgementReason(Text):
    """Why nobody needs to be reminded."""

    min_length: ClassVar[int] = 1
    max_length: ClassVar[int] = 500


class AcknowledgementRequest(Struct, frozen=True, kw_only=True):
    because: Annotated[
        AcknowledgementReason, Meta(description="a text of 1 to 500 characters, which other admins see")
    ]
    """Why nobody needs to be reminded of it any more."""


class AlertBody(Struct, frozen=True, kw_only=True):
    """Something that operators have to know; docs/alerts.md says what each rule means, and what to do."""

    number: int
    """The alert's number."""
    rule: str
    """The name of the rule that found it."""
    subject: str
    """What of several things it is about, as a daemon or a task; empty: the whole."""
    severity: Severity
    """`critical`: money or clients wait."""
    summary: str
    """What was measured last, and what is allowed."""
    measured: float
    """What was measured last, in the unit of the rule."""
    count: int
    """The number of evaluations that found it."""
    first_seen: Time
    """When the rule found it first."""
    last_seen: Time
    """When the rule found it last."""
    acknowledged_at: Time | None
    """When an admin took care of it; null while nobody has."""
    acknowledged_by: str | None
    """The wallet of the admin, or the user at the command line; null while nobody has."""
    acknowledged_because: str | None
    """The reason that was given; null while nobody has."""
    resolved_at: Time | None
    """When its cause had been gone for long enough; null while it is open."""
    last_delivered_at: Time | None
    """When a message about it last arrived with a receiver besides the log; null: nobody was told."""


class AlertList(Struct, frozen=True):
    """A page of alerts, the newest first."""

    alerts: tuple[AlertBody, ...]
    """The alerts of this page."""
    count: PageLength
    total: int
    """The number of alerts with this status, on all pages."""
    limit: int
    """The maximum length of a page, as requested."""
    next_cursor: NextPage


async def list_alerts(call: Call[AlertsQuery]) -> AlertList:
    """Resolved ones are there for `alerts.keep_days`, 90 days by default."""
    await call.app[keys.ADMINS].require_any(call.session.wallet, _MAY)
    query = call.input
    after = decode_cursor(query.cursor, AlertPageKey)
    async with call.app[keys.DATABASE].service_reader() as reader:
        page = await alerts.page(reader, query.status, query.limit, after)
    return AlertList(
        tuple(map(_body, page.rows)), len(page.rows), page.total, query.limit, encode_cursor(page.next_key)
    )


async def acknowledge(call: Call[AcknowledgementRequest]) -> AlertBody:
    """Nobody is reminded of it any more. The first acknowledgement counts; resolved ones stay as they are."""
    wallet = call.session.wallet
    await call.app[keys.ADMINS].require_any(wallet, _MAY)
    async with call.app[keys.DATABASE].service_reader() as reader:
        return _body(await alerts.acknowledge(reader, int(call.path["number"]), wallet, call.input.because))


def _body(alert: Alert) -> AlertBody:
    return AlertBody(
        number=alert.id,
        rule=alert.rule,
        subject=alert.subject,
        severity=alert.severity,
        summary=alert.summary,
        measured=alert.value,
        count=alert.count,
        first_seen=iso_time(alert.first_seen),
        last_seen=iso_time(alert.last_seen),
        acknowledged_at=iso_time_or_none(alert.acknowledged_at),
        acknowledged_by=alert.acknowledged_by,
        acknowledged_because=alert.acknowledged_because,
        resolved_at=iso_time_or_none(alert.resolved_at),
        last_delivered_at=iso_time_or_none(alert.last_delivered_at),
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/admin/alerts",
        handler=list_alerts,
        summary="List what operators were alerted of",
        tag="admin",
        query=AlertsQuery,
        responses={200: AlertList},
        errors=(NotTheAdmin, ProtocolNotInitialized, RpcUnavailable, RpcRejected),
        access=Access.SESSION,
    ),
    Operation(
        method="POST",
        path="/api/admin/alerts/{number}/acknowledge",
        handler=acknowledge,
        name="acknowledge_alert",
        summary="Acknowledge an alert, so that nobody is reminded of it",
        tag="admin",
        variables={"number": ALERT},
        body=AcknowledgementRequest,
        responses={200: AlertBody},
        errors=(NotTheAdmin, AlertNotFound, ProtocolNotInitialized, RpcUnavailable, RpcRejected),
        access=Access.SESSION,
    ),
)

"""Alerts: one open row for each rule and subject. All of these take a service transaction or reader."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

from asyncpg import Connection
from msgspec import Struct

from zmartd.errors import ZmartdError
from zmartd.store.keyset import BigInt, CountedPage, counted_page_of, with_total
from zmartd.store.postgres.reader import Reads
from zmartd.store.text import storable

Severity = Literal["warning", "critical"]
Status = Literal["open", "resolved", "all"]

MAX_SUMMARY: Final = 1_000
MAX_SUBJECT: Final = 300

_LOCK = "select pg_advisory_xact_lock(hashtextextended('zmartd.alerts', 0))"
_SUPERSEDE = """
insert into alert_order as known (id, evaluations) values (1, 1)
on conflict (id) do update set evaluations = known.evaluations + 1
 where $1::bigint is null or known.evaluations = $1
returning true
"""
_NAMES: Final = """
id, rule, subject, severity, summary, value, count, first_seen, last_seen, opened_at, quiet_since,
acknowledged_at, acknowledged_by, acknowledged_because, resolved_at, told_at, last_delivered_at
"""
_UNRESOLVED = f"select {_NAMES} from alerts where resolved_at is null order by id"  # noqa: S608 - constants
_ADD = f"""
insert into alerts (rule, subject, severity, summary, value, first_seen, last_seen, opened_at, told_at)
select given.*, moment, moment, opened, opened
  from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::float8[]) as given,
       (select $6::timestamptz as moment, case when $7 then $6::timestamptz end as opened) as opening
on conflict (rule, subject) where resolved_at is null do nothing
returning {_NAMES}
"""  # noqa: S608 - constants
_SEE = f"""
update alerts
   set summary = now_summary, value = now_value, severity = now_severity, last_seen = $5,
       count = count + 1, quiet_since = null,
       opened_at = coalesce(opened_at, case when tells then $5::timestamptz end),
       told_at = case when tells then $5::timestamptz else told_at end
  from unnest($1::bigint[], $2::text[], $3::float8[], $4::boolean[], $6::text[])
       as given(alert, now_summary, now_value, tells, now_severity)
 where id = alert
returning {_NAMES}
"""  # noqa: S608 - constants
_QUIET = """
update alerts set quiet_since = $2 where id = any($1::bigint[]) and quiet_since is null returning id
"""
_RESOLVE = f"""
update alerts set resolved_at = $2, told_at = $2, quiet_since = coalesce(quiet_since, $2)
 where id = any($1::bigint[]) returning {_NAMES}
"""  # noqa: S608 - constants
_NOTE_DELIVERY = "update alerts set last_delivered_at = $2 where id = any($1::bigint[])"
_FORGET = "delete from alerts where id = any($1::bigint[]) and opened_at is null"
_ACKNOWLEDGE = f"""
update alerts
   set acknowledged_at = clock_timestamp(), acknowledged_by = $2, acknowledged_because = $3
 where id = $1 and opened_at is not null and resolved_at is null and acknowledged_at is null
returning {_NAMES}
"""  # noqa: S608 - constants
_FIND = f"select {_NAMES} from alerts where id = $1 and opened_at is not null"  # noqa: S608 - constants
_SHOWN = """
opened_at is not null and case $1::text when 'all' then true when 'open' then resolved_at is null
                                       else resolved_at is not null end
"""
_PAGE = f"""
select {_NAMES} from alerts
 where {_SHOWN} and ($2::bigint is null or id < $2) order by id desc limit $3
"""  # noqa: S608 - constants
_COUNTED_PAGE = with_total(f"(select count(*) from alerts where {_SHOWN})", _PAGE, "order by id desc")  # noqa: S608


class AlertNotFound(ZmartdError):
    """There is no alert with this number; GET /api/admin/alerts lists them."""

    code = "alert_not_found"


class Alert(Struct, frozen=True):
    """What has been found by a rule about a subject."""

    id: int
    rule: str
    subject: str
    """A daemon, a task, a state of markets; empty: the whole."""
    severity: Severity
    summary: str
    value: float
    """What was measured last, in the unit of its rule."""
    count: int
    """How many evaluations have found it."""
    first_seen: datetime
    last_seen: datetime
    opened_at: datetime | None
    """None while it has not lasted long enough for anybody to be told."""
    quiet_since: datetime | None
    """Since when it has not been found any more."""
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    acknowledged_because: str | None
    resolved_at: datetime | None
    told_at: datetime | None
    """When a message about it was last queued."""
    last_delivered_at: datetime | None
    """When one last arrived; the log does not count."""


class NewAlert(Struct, frozen=True):
    """What is found for the first time."""

    rule: str
    subject: str
    severity: Severity
    summary: str
    value: float


class SeenAgain(Struct, frozen=True):
    """What is still found. `tells`: somebody is to be told, now."""

    id: int
    severity: Severity
    summary: str
    value: float
    tells: bool


class AlertPageKey(Struct, frozen=True, tag="alerts/1"):
    """A page begins after this alert."""

    id: BigInt


async def lock(connection: Connection) -> None:
    """Let one daemon at a time change alerts, until the transaction ends."""
    await connection.execute(_LOCK)


async def supersede(connection: Connection, evaluations: int | None = None) -> bool:
    """Keep evaluations from being written that have read their facts before.

    Does nothing and gives False where the number of those written is not `evaluations` any more.
    """
    return bool(await connection.fetchval(_SUPERSEDE, evaluations))


async def unresolved(connection: Reads) -> tuple[Alert, ...]:
    """The open ones, and those that have not lasted long enough to be opened."""
    return tuple(Alert(**dict(row)) for row in await connection.fetch(_UNRESOLVED))


async def add(
    connection: Connection, found: Sequence[NewAlert], now: datetime, *, opened: bool
) -> list[Alert]:
    """Add rows; gives those for which there was none."""
    rows = await connection.fetch(
        _ADD,
        [one.rule for one in found],
        [storable(one.subject, MAX_SUBJECT) for one in found],
        [one.severity for one in found],
        [storable(one.summary, MAX_SUMMARY) for one in found],
        [one.value for one in found],
        now,
        opened,
    )
    return [Alert(**dict(row)) for row in rows]


async def see_again(connection: Connection, seen: Sequence[SeenAgain], now: datetime) -> list[Alert]:
    """Note that they were found again; gives all of them."""
    rows = await connection.fetch(
        _SEE,
        [one.id for one in seen],
        [storable(one.summary, MAX_SUMMARY) for one in seen],
        [one.value for one in seen],
        [one.tells for one in seen],
        now,
        [one.severity for one in seen],
    )
    return [Alert(**dict(row)) for row in rows]


async def quieten(connection: Connection, ids: Sequence[int], now: datetime) -> None:
    """Note that they are not found any more."""
    await connection.execute(_QUIET, list(ids), now)


async def resolve(connection: Connection, ids: Sequence[int], now: datetime) -> list[Alert]:
    """Close them; gives them."""
    return [Alert(**dict(row)) for row in await connection.fetch(_RESOLVE, list(ids), now)]


async def note_delivery(connection: Connection, ids: Sequence[int], now: datetime) -> None:
    """Note that somebody was told of them."""
    await connection.execute(_NOTE_DELIVERY, list(ids), now)


async def forget(connection: Connection, ids: Sequence[int]) -> None:
    """Delete those of them of which nobody was told."""
    await connection.execute(_FORGET, list(ids))


async def acknowledge(connection: Reads, alert_id: int, by: str, because: str | None) -> Alert:
    """Note that somebody takes care of it, so that nobody is reminded. The first one counts.

    Gives the alert as it is then, also where it was acknowledged before, or is resolved. Raises
    AlertNotFound.
    """
    row = await connection.fetchrow(
        _ACKNOWLEDGE, alert_id, storable(by, MAX_SUBJECT), because
    ) or await connection.fetchrow(_FIND, alert_id)
    if row is None:
        raise AlertNotFound
    return Alert(**dict(row))


async def page(
    connection: Reads, status: Status, limit: int, after: AlertPageKey | None = None
) -> CountedPage[Alert, AlertPageKey]:
    """A page of alerts that were opened, the newest first."""
    key = None if after is None else after.id
    rows = await connection.fetch(_COUNTED_PAGE, status, key, limit + 1)
    return counted_page_of(rows, limit, _alert, lambda last: AlertPageKey(last.id))


def _alert(row: dict[str, Any]) -> Alert:
    return Alert(**row)

"""The processes of the last hours, and what each says of itself. All of these take a service reader.

A process writes its row every few seconds, in the statement that also reads what it has to know about alerts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import Struct

from zmartd.store.postgres.reader import Reads

_REPORT = """
with reported as (
    insert into daemons (instance, place, started_at, seen_at, vitals)
    values ($1, $2, clock_timestamp() - make_interval(secs => $3), clock_timestamp(), $4)
    on conflict (instance) do update set seen_at = excluded.seen_at, vitals = excluded.vitals
)
select clock_timestamp() as now,
       coalesce((select recoveries from alert_order), 0) as recoveries,
       exists (select from alert_deliveries
                where receiver = any($5::text[]) and next_attempt_at <= clock_timestamp()
                  and delivered_at is null and given_up_at is null) as has_deliveries
"""
_RECOVERED = """
insert into alert_order as known (id, recoveries) values (1, 1)
on conflict (id) do update set recoveries = known.recoveries + 1 where known.recoveries = $1
returning recoveries
"""
_STOP = "update daemons set stopped_at = clock_timestamp() where instance = $1 returning true"
_LISTED = "select instance, place, started_at, seen_at, stopped_at, vitals from daemons order by started_at"


class Vitals(Struct, frozen=True, kw_only=True):
    """What a daemon says of itself: counts over the window of the settings, and what is so now."""

    requests: int = 0
    """Requests of the API that were answered."""
    request_errors: int = 0
    """Those that were answered with a status of 500 or above."""
    websockets: int = 0
    """Connections that were open when the window began, and those that were opened in it."""
    websockets_lost: int = 0
    """Those that ended without their client closing them."""
    database_failures: int = 0
    redis_failing_seconds: float = 0.0
    clock_skew_seconds: float = 0.0
    """How far this machine's clock is ahead of Postgres's; less than the time that the question took is 0."""
    loop_lag_seconds: float = 0.0
    """The longest that the event loop stood still."""
    descriptors: int = 0
    descriptor_limit: int = 0
    takes_webhooks: bool = False
    """Whether it has a credential of the webhook."""


class DaemonRow(Struct, frozen=True):
    """One process."""

    instance: UUID
    place: str
    started_at: datetime
    seen_at: datetime
    stopped_at: datetime | None
    vitals: Vitals


class Standing(Struct, frozen=True):
    """What a daemon is told when it reports."""

    now: datetime
    recoveries: int
    """How often daemons could write again that could not before."""
    has_deliveries: bool
    """Whether messages wait that it could deliver."""


async def report(
    connection: Reads,
    instance: UUID,
    place: str,
    vitals: Vitals,
    *,
    up_seconds: float,
    receivers: Sequence[str],
) -> Standing:
    """Write this process's row. `receivers` are those to whom it can deliver."""
    text = msgspec.json.encode(vitals).decode()
    row = await connection.fetchrow(_REPORT, instance, place, up_seconds, text, list(receivers))
    assert row is not None, "a select without a table has a row"
    return Standing(
        now=row["now"],
        recoveries=row["recoveries"],
        has_deliveries=row["has_deliveries"],
    )


async def recovered(connection: Reads, recoveries: int) -> int | None:
    """Count another recovery, unless another daemon has since there were so many; then None."""
    number: int | None = await connection.fetchval(_RECOVERED, recoveries)
    return number


async def stop(connection: Reads, instance: UUID) -> None:
    """Note that this process ends in order."""
    await connection.fetchval(_STOP, instance)


async def listed(connection: Reads) -> tuple[DaemonRow, ...]:
    """All of them, in the order in which they were started."""
    return tuple(
        DaemonRow(
            instance=row["instance"],
            place=row["place"],
            started_at=row["started_at"],
            seen_at=row["seen_at"],
            stopped_at=row["stopped_at"],
            vitals=msgspec.json.decode(row["vitals"], type=Vitals),
        )
        for row in await connection.fetch(_LISTED)
    )

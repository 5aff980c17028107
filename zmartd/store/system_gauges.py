"""What every daemon's /metrics says of the whole system, in one statement. It takes a service reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from asyncpg import Record
from msgspec import Struct

from zmartd.store.postgres.reader import Reads

MOST_COUNTED: Final = 100_000
"""Deliveries that are counted: counting a million would take longer than it is worth."""

_READ = """
with awaiting as (
    select state, awaiting_decision, awaiting_admin_approval, settles_at is not null as announced
      from markets where awaiting_admin_approval or awaiting_decision or settles_at is not null
)
select (select coalesce(json_agg(counted), '[]'::json)
          from (select rule, severity, count(*) as number from alerts
                 where resolved_at is null and opened_at is not null group by rule, severity) as counted
       ) as open_alerts,
       (select coalesce(json_object_agg(subject, value), '{}'::json) from alerts
         where rule = 'stuck_markets' and resolved_at is null and opened_at is not null
           and quiet_since is null) as stuck,
       (select count(*) from awaiting where state = 'DISPUTED' and awaiting_decision) as disputes_awaiting,
       (select count(*) from awaiting where state = 'DISPUTED' and announced and not awaiting_decision)
           as disputes_announced,
       (select count(*) from awaiting where state = 'RESOLVING' and awaiting_decision)
           as strangers_resolutions,
       (select count(*) from awaiting where state = 'PROPOSED' and awaiting_admin_approval)
           as approvals_awaiting,
       (select coalesce(json_object_agg(schedule.task, extract(epoch from run.finished_at)), '{}'::json)
          from task_schedules as schedule
         cross join lateral (
               select finished_at from task_runs
                where task_runs.task = schedule.task and status in ('running', 'ran') and status = 'ran'
                  and (outcome = 'ok' or (outcome = 'failed' and explanation is null))
                order by id desc limit 1) as run) as successes,
       (select row_to_json(audit) from (
               select differences, failed_markets, moving_markets,
                      coalesce(extract(epoch from oldest_at), 0) as oldest from audit_passes
               ) as audit) as audit,
       (select count(*) from (select from webhook_inbox where status = 'pending' limit $2) as first_ones)
           as pending_deliveries,
       (select count(*) from webhook_inbox where status = 'parked') as parked_deliveries,
       coalesce((select greatest(extract(epoch from clock_timestamp() - received_at), 0)::float8
                   from webhook_inbox where status = 'pending' order by id limit 1), 0) as oldest_seconds,
       (select extract(epoch from received_at)::float8
          from webhook_inbox order by id desc limit 1) as delivered_at,
       (select coalesce(json_object_agg(reason, number), '{}'::json)
          from (select reason, count(*) as number from parked_transactions group by reason) as parked
       ) as parked_transactions,
       (select count(*) from truncated_transactions where resolved_at is null and reason is not null)
           as incomplete_transactions,
       (select count(*) from quarantined_events where resolved_at is null) as quarantined_events,
       (select count(*) from market_finalization_errors where resolved_at is null) as failed_transitions,
       (select newest_slot from pulses where newest_slot > 0) as newest_slot,
       (select newest_slot - slot from pulses where newest_slot > 0) as lag_slots,
       (select coalesce(json_object_agg(task, extract(epoch from next_due_at)), '{}'::json)
          from task_schedules as schedule
         where (paused_until is null or paused_until <= clock_timestamp())
           and not exists (select from task_runs as run
                            where run.task = schedule.task and run.status = 'running'
                              and run.lease_until > clock_timestamp())) as due,
       (select count(*) from task_runs where status = 'running' and lease_until > clock_timestamp())
           as held_leases,
       (select count(*) from task_runs where status = 'running' and lease_until <= clock_timestamp())
           as expired_leases,
       (select count(distinct pid) from pg_locks join pg_stat_activity using (pid)
         where not granted and datname = current_database()) as lock_waits,
       case when $1 then pg_database_size(current_database()) end as database_bytes
"""


class OpenAlerts(Struct, frozen=True):
    """How many alerts of a rule are open."""

    rule: str
    severity: str
    number: int


class AuditGauges(Struct, frozen=True):
    """What the newest pass of the auditor said."""

    differences: int
    failed_markets: int
    moving_markets: int
    oldest: float
    """When the market was compared that has waited longest, in unix seconds; 0 where one never was."""


class SystemFigures(Struct, frozen=True, kw_only=True):
    """The same on every daemon."""

    open_alerts: tuple[OpenAlerts, ...]
    stuck: Mapping[str, float]
    """Markets that the alert calls stuck, by state."""
    disputes_awaiting: int
    disputes_announced: int
    strangers_resolutions: int
    approvals_awaiting: int
    successes: Mapping[str, float]
    """When each task last ended a run without failing, in unix seconds; tasks that have are in it."""
    audit: AuditGauges | None
    """None before the first pass."""
    pending_deliveries: int
    """MOST_COUNTED where there are more."""
    parked_deliveries: int
    oldest_seconds: float
    """For how long the first of those that are pending has waited; 0 where there is none."""
    delivered_at: float | None
    """When a webhook last delivered something, in unix seconds; None where the inbox has nothing."""
    parked_transactions: Mapping[str, float]
    """How many are parked, by the reasons for which some are."""
    incomplete_transactions: int
    quarantined_events: int
    failed_transitions: int
    """Markets that could not be moved on."""
    newest_slot: int | None
    """The newest slot that a node told; None before the first."""
    lag_slots: int | None
    """The slots up to that one in which the index may lack something."""
    due: Mapping[str, float]
    """The first instant of each task that has no row yet, in unix seconds; without tasks that are paused, or
    that run now."""
    held_leases: int
    expired_leases: int
    """Runs whose daemon does not renew them any more, and that no other one has taken over."""
    lock_waits: int
    """Sessions of the database that wait for a lock."""
    database_bytes: int | None
    """None where nobody asked for it."""


async def read(connection: Reads, *, with_size: bool) -> SystemFigures:
    """What is so now. Counting the size of the database takes some milliseconds."""
    row = await connection.fetchrow(_READ, with_size, MOST_COUNTED)
    assert row is not None, "a select without a table has a row"
    return SystemFigures(
        open_alerts=_json(row, "open_alerts", tuple[OpenAlerts, ...]),
        stuck=_json(row, "stuck", dict[str, float]),
        disputes_awaiting=row["disputes_awaiting"],
        disputes_announced=row["disputes_announced"],
        strangers_resolutions=row["strangers_resolutions"],
        approvals_awaiting=row["approvals_awaiting"],
        successes=_json(row, "successes", dict[str, float]),
        audit=_json(row, "audit", AuditGauges | None),
        pending_deliveries=row["pending_deliveries"],
        parked_deliveries=row["parked_deliveries"],
        oldest_seconds=row["oldest_seconds"],
        delivered_at=row["delivered_at"],
        parked_transactions=_json(row, "parked_transactions", dict[str, float]),
        incomplete_transactions=row["incomplete_transactions"],
        quarantined_events=row["quarantined_events"],
        failed_transitions=row["failed_transitions"],
        newest_slot=row["newest_slot"],
        lag_slots=row["lag_slots"],
        due=_json(row, "due", dict[str, float]),
        held_leases=row["held_leases"],
        expired_leases=row["expired_leases"],
        lock_waits=row["lock_waits"],
        database_bytes=row["database_bytes"],
    )


def _json(row: Record, name: str, kind: Any) -> Any:
    text = row[name]
    return None if text is None else msgspec.json.decode(text, type=kind)

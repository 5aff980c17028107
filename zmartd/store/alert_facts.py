"""What the rules of alerts are about, as far as Postgres knows it: read together, in one statement."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from zmartd.alert_settings import AlertSettings
from zmartd.store.postgres.reader import Reads

_EXAMPLES: Final = 5

# Overdue is nothing that nobody compares because an operator wants it so.
_FACTS = """
with moment as (select clock_timestamp() as now),
waiting as (
    select 'failing' as why, address, failing_since as since
      from moment, market_audits where failing_since < moment.now - make_interval(secs => $5)
    union all
    select 'moving', address, moving_since
      from moment, market_audits
     where moving_since < moment.now - make_interval(secs => $5) and failing_since is null
    union all
    select 'overdue', address, coalesce(compared_at, entered_at)
      from moment, market_audits
     where coalesce(compared_at, entered_at) < moment.now - make_interval(secs => $6)
       and failing_since is null and moving_since is null
       and not coalesce((
           select reason = 'disabled' from task_runs
            where task = 'auditor' and due_at is not null order by due_at desc limit 1), false)
       and not exists (select from task_schedules
                        where task = 'auditor' and paused_until > moment.now)
),
failed as (
    select market_id, error_code, attempt_count from market_finalization_errors where resolved_at is null
), awaiting as (
    select id from markets
     where not orphaned and ((awaiting_decision and state in ('RESOLVING', 'DISPUTED'))
                             or (awaiting_admin_approval and state = 'PROPOSED'))
), overdue as (
    select schedule.task, extract(epoch from moment.now - schedule.next_due_at)::float8 as seconds
      from moment, task_schedules as schedule
     where schedule.next_due_at < moment.now - make_interval(secs => $1)
       and (schedule.paused_until is null or schedule.paused_until <= moment.now)
       and not exists (select from task_runs as run
                        where run.task = schedule.task and run.status = 'running'
                          and run.lease_until > moment.now)
)
select moment.now,
       coalesce((select evaluations from alert_order), 0) as evaluations,
       (select count(*) from failed) as failed,
       array(select market_id || ' (' || error_code || ')' from failed order by attempt_count desc limit $3)
           as failed_examples,
       (select count(*) from awaiting) as awaiting,
       array(select id::text from awaiting order by id limit $3) as awaiting_examples,
       (select count(*) from quarantined_events where resolved_at is null) as quarantined_events,
       (select count(*) from parked_transactions) as parked_transactions,
       (select count(*) from webhook_inbox where status = 'parked') as parked_deliveries,
       (select extract(epoch from moment.now - received_at)::float8
          from webhook_inbox order by id desc limit 1) as delivered_seconds,
       (select count(*) from task_runs
         where task = 'reconciler' and status = 'ran' and eventful
           and finished_at > moment.now - make_interval(secs => $2)
           and report @> '{"actions": [{"action": "apply_missing"}]}') as making_up_runs,
       (select extract(epoch from moment.now - finished_at)::float8 from task_runs
         where task = 'reconciler' and status = 'ran' and (outcome <> 'failed' or explanation is null)
         order by id desc limit 1) as reconciled_seconds,
       (select extract(epoch from moment.now - started_at)::float8 from task_runs
         where task = 'reconciler' and status in ('running', 'ran')
         order by id limit 1) as reconciling_seconds,
       (select newest_slot - slot from pulses) as lag_slots,
       (select coalesce(json_object_agg(task, seconds), '{}'::json) from overdue) as overdue,
       (select coalesce(sum(differences), 0) from market_audits where differences > 0) as differences,
       array(select address::text from market_audits where differences > 0 order by differs_since limit $3)
           as differing,
       (select coalesce(json_object_agg(why, counted), '{}'::json)
          from (select why, json_build_object(
                           'number', count(*),
                           'seconds', extract(epoch from (select now from moment) - min(since)),
                           'examples', (array_agg(address::text order by since, address))[1:$3]) as counted
                  from waiting group by why) as of_why) as uncompared,
       case when $4 then pg_database_size(current_database()) end as database_bytes
  from moment
"""


class Several(Struct, frozen=True):
    """A number of things, and some of their names."""

    number: int
    examples: tuple[str, ...] = ()


class Waiting(Struct, frozen=True):
    """A number of markets, for how long the first of them has waited, and the addresses of some."""

    number: int
    seconds: float
    examples: tuple[str, ...] = ()


class IndexFacts(Struct, frozen=True, kw_only=True):
    """What Postgres says at `now`, by its clock."""

    now: datetime
    evaluations: int
    """How many evaluations of the rules were written before."""
    failed_transitions: Several
    """Markets that could not be moved on; with the code of the last error."""
    awaiting_decision: Several
    quarantined_events: int
    parked_transactions: int
    parked_deliveries: int
    delivered_seconds: float | None
    """How long ago a webhook delivered something; None: never."""
    making_up_runs: int
    """Runs of the reconciler, within `silent_seconds`, that found something missing."""
    reconciled_seconds: float | None
    """How long ago the reconciler last ended a run well; None: never."""
    reconciling_seconds: float | None
    """How long ago the oldest run of it began that the ledger has; None: it has none."""
    lag_slots: int | None
    """The slots that the node has and in which the index may lack something; None: no node was asked yet."""
    overdue_seconds: Mapping[str, float]
    """How long ago the first instant was that has no row, by task, where that is longer than it may be.

    Not of a task that is paused, as one may be that no daemon has installed any more.
    """
    audit_differences: Several
    """The values that the auditor has found different, and not equal since."""
    uncompared: Mapping[str, Waiting]
    """Markets that the auditor has not compared for longer than may be: `failing`, `moving` during each
    attempt, or `overdue`. Without those that there are none of.
    """
    database_bytes: int | None
    """None where nobody asked for it."""


async def read(connection: Reads, settings: AlertSettings, *, with_size: bool) -> IndexFacts:
    """Read them. Counting the size of the database takes some milliseconds."""
    row = await connection.fetchrow(
        _FACTS,
        settings.unexplained_seconds,
        settings.webhook_silent_seconds,
        _EXAMPLES,
        with_size,
        settings.audit_failing_seconds,
        settings.audit_overdue_seconds,
    )
    assert row is not None, "a moment is one row"
    return IndexFacts(
        now=row["now"],
        evaluations=row["evaluations"],
        failed_transitions=Several(row["failed"], tuple(row["failed_examples"])),
        awaiting_decision=Several(row["awaiting"], tuple(row["awaiting_examples"])),
        quarantined_events=row["quarantined_events"],
        parked_transactions=row["parked_transactions"],
        parked_deliveries=row["parked_deliveries"],
        delivered_seconds=row["delivered_seconds"],
        making_up_runs=row["making_up_runs"],
        reconciled_seconds=row["reconciled_seconds"],
        reconciling_seconds=row["reconciling_seconds"],
        lag_slots=row["lag_slots"],
        overdue_seconds=msgspec.json.decode(row["overdue"]),
        audit_differences=Several(row["differences"], tuple(row["differing"])),
        uncompared=msgspec.json.decode(row["uncompared"], type=dict[str, Waiting]),
        database_bytes=row["database_bytes"],
    )

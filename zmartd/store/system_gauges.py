"""What every daemon's /metrics says of the whole system, in one statement. It takes a service reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from asyncpg import Record
from msgspec import Struct

from zmartd.store.postgres.reader import Reads

_READ = """
with awaiting as (
    select state, awaiting_decision, awaiting_admin_approval, settles_at is not null as announced
      from markets where awaiting_admin_approval or awaiting_decision or settles_at is not null
)
select (select coalesce(json_object_agg(rule, number), '{}'::json)
          from (select rule, count(*) as number from alerts
                 where resolved_at is null and opened_at is not null group by rule) as counted
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
               ) as audit) as audit
"""


class AuditGauges(Struct, frozen=True):
    """What the newest pass of the auditor said."""

    differences: int
    failed_markets: int
    moving_markets: int
    oldest: float
    """When the market was compared that has waited longest, in unix seconds; 0 where one never was."""


class SystemFigures(Struct, frozen=True, kw_only=True):
    """The same on every daemon."""

    open_alerts: Mapping[str, float]
    """How many are open, by rule."""
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


async def read(connection: Reads) -> SystemFigures:
    """What is so now."""
    row = await connection.fetchrow(_READ)
    assert row is not None, "a select without a table has a row"
    return SystemFigures(
        open_alerts=_json(row, "open_alerts", dict[str, float]),
        stuck=_json(row, "stuck", dict[str, float]),
        disputes_awaiting=row["disputes_awaiting"],
        disputes_announced=row["disputes_announced"],
        strangers_resolutions=row["strangers_resolutions"],
        approvals_awaiting=row["approvals_awaiting"],
        successes=_json(row, "successes", dict[str, float]),
        audit=_json(row, "audit", AuditGauges | None),
    )


def _json(row: Record, name: str, kind: Any) -> Any:
    text = row[name]
    return None if text is None else msgspec.json.decode(text, type=kind)

"""When markets are due for what a task does, and the runs that this prompts. All take a service reader.

Moments are by the chain's clock, which the caller knows. The database is asked for those that have come or
are near, so what it costs depends on these, not on how many markets there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

from zmartd.market.lifecycle import AUTOMATIC_DISPUTE_AT
from zmartd.market.situation import INITIAL_DISPUTE_PERIOD_SECONDS, INITIAL_PROPOSAL_THRESHOLD_BPS
from zmartd.store.postgres.reader import Reads
from zmartd.store.streams import HORIZON

MONITOR: Final = "market_monitor"
AGGREGATOR: Final = "vote_aggregator"

FIRST_PAUSE_SECONDS: Final = 2.0
LONGEST_PAUSE_SECONDS: Final = 300.0
"""How soon a moment prompts another run, where the one before has not moved the market: it doubles."""
PROMPTS_OF_COUNTS: Final = 9
"""How often votes or requests prompt a run that does nothing about them, until there are others: by then the
pause is as long as it gets, and the sweep comes as often.
"""
RECENT_SECONDS: Final = 360
"""A request for a dispute is looked at for so long: for as long as a horizon is good, and a minute more for
its transaction. One that takes longer is ended.
"""

_PART, _WHOLE = AUTOMATIC_DISPUTE_AT
_OPEN_ERROR = (
    "left join market_finalization_errors as failed"
    " on failed.market_id = market.id and failed.resolved_at is null"
)
_DECIDED = "left join market_decisions as decided on decided.market_id = market.id and decided.state = "
_IS_TRUSTED = "(market.resolver_wallet = market.creator_wallet or market.resolver_wallet = any($7::text[]))"
_LOOK = f"""
with rules as (
    select period_seconds, threshold_bps, make_interval(secs => period_seconds) as period,
           make_interval(secs => period_seconds * {_PART} / {_WHOLE}) as disputed_after,
           make_interval(secs => greatest(period_seconds, $5::bigint) + $6::bigint) as final_after
      from (select coalesce(dispute_period, {INITIAL_DISPUTE_PERIOD_SECONDS}) as period_seconds,
                   coalesce(proposal_approval_threshold, {INITIAL_PROPOSAL_THRESHOLD_BPS}) as threshold_bps
              from protocol) as configured
), found as (
    select '{MONITOR}' as task, 'finalization' as kind, market.id as market_id,
           greatest(market.resolution_proposed_at + rules.final_after, failed.next_attempt_at) as due_at
      from rules cross join markets as market {_OPEN_ERROR} {_DECIDED} 'RESOLVING'
     where market.state = 'RESOLVING' and market.resolution_proposed_at <= $2::timestamptz - rules.final_after
       and ({_IS_TRUSTED} or decided.decision = 'keep')
    union all
    select '{AGGREGATOR}',
           case when decided.decision is not null then 'decision'
                when market.settles_at is not null then 'settlement' else 'end_of_vote' end,
           market.id,
           greatest(case when decided.decision is not null then market.dispute_initiated_at
                         when market.settles_at is not null then market.settles_at
                         else market.dispute_initiated_at + rules.period end,
                    failed.next_attempt_at)
      from rules cross join markets as market {_OPEN_ERROR} {_DECIDED} 'DISPUTED'
     where market.state = 'DISPUTED' and (decided.decision is not null or not market.awaiting_decision)
    union all
    select '{AGGREGATOR}',
           case when decided.decision is not null then 'decision'
                when market.awaiting_decision then 'automatic_dispute' else 'announcement' end,
           market.id,
           market.resolution_proposed_at
               + case when decided.decision is not null then interval '1 s'
                      when market.awaiting_decision then rules.disputed_after else interval '0' end
      from rules cross join markets as market {_DECIDED} 'RESOLVING'
     where market.state = 'RESOLVING' and not {_IS_TRUSTED}
       and decided.decision is distinct from 'keep'
       and (market.resolution_proposed_at > $1::timestamptz - rules.period
            or (decided.decision is null and not market.awaiting_decision))
), able as (
    select schedule.task,
           schedule.prompted_at is not null
               or exists (select from task_runs as run
                           where run.task = schedule.task and run.status = 'running') as is_busy
      from task_schedules as schedule
     where schedule.task = any($4::text[])
       and (schedule.paused_until is null or schedule.paused_until <= clock_timestamp())
), moments as (
    select found.*, row_number() over (partition by task order by due_at, market_id) as place
      from found join able using (task)
     where due_at <= $2::timestamptz
       and not exists (select from prompted_moments as done
                        where (done.market_id, done.task, done.kind, done.due_at)
                            = (found.market_id, found.task, found.kind, found.due_at)
                          and (able.is_busy or done.again_at > clock_timestamp()))
), changed as (
    select substr(stream.name, 8) as id
      from stream_messages as message join streams as stream on stream.id = message.stream_id
     where message.committed_by >= $3::text::xid8
       and message.committed_by < pg_snapshot_xmax(pg_current_snapshot()) and stream.name like 'market:%'
    union
    select market_id from dispute_requests
     where requested_at > clock_timestamp() - interval '{RECENT_SECONDS} s'
    union
    select market_id from market_finalization_errors
     where resolved_at is null and next_attempt_at <= $1::timestamptz
    union
    select market_id from prompted_moments
     where again_at <= clock_timestamp() and kind in ('approval', 'petition')
       and prompts < {PROMPTS_OF_COUNTS}
), voted as (
    select market.id from changed join markets as market using (id)
     where market.state in ('PROPOSED', 'RESOLVING')
)
select ({HORIZON})::text as horizon, rules.period_seconds, rules.threshold_bps,
       exists (select from able where task = '{AGGREGATOR}') as acts_on_counts,
       array(select task from able where is_busy) as busy,
       one.task, one.kind, one.market_id, one.due_at
  from rules
  left join (
       select task, kind, market_id, due_at from moments where place <= $8
       union all
       select null, null, id, null from voted where exists (select from able where task = '{AGGREGATOR}')
  ) as one on true
"""  # noqa: S608 - constants
_PROMPT = f"""
with wanted as (
    select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[])
               as one(task, kind, market_id, due_at, text)
), noted as (
    insert into prompted_moments as noted (market_id, task, kind, due_at, again_at)
    select market_id, task, kind, due_at, clock_timestamp() + make_interval(secs => {FIRST_PAUSE_SECONDS})
      from wanted join task_schedules as schedule using (task)
     where schedule.paused_until is null or schedule.paused_until <= clock_timestamp()
     order by market_id, task, kind
    on conflict (market_id, task, kind) do update
       set due_at = excluded.due_at,
           prompts = case when noted.due_at = excluded.due_at then noted.prompts + 1 else 1 end,
           again_at = clock_timestamp() + make_interval(secs =>
               case when noted.due_at = excluded.due_at
                    then least({FIRST_PAUSE_SECONDS} * 2 ^ least(noted.prompts, 30), {LONGEST_PAUSE_SECONDS})
                    else {FIRST_PAUSE_SECONDS} end)
     where noted.due_at <> excluded.due_at
        or (noted.again_at <= clock_timestamp()
            and not exists (select from task_runs as run
                             where run.task = noted.task and run.status = 'running'))
    returning market_id, task, kind
), prompting as (
    select task, (array_agg(text order by due_at, market_id))[1]
                 || case when count(*) > 1 then ' and ' || count(*) - 1 || ' more' else '' end as because
      from wanted join noted using (market_id, task, kind) group by task
)
update task_schedules as schedule
   set prompted_at = coalesce(schedule.prompted_at, clock_timestamp()),
       prompted_because = coalesce(schedule.prompted_because, prompting.because)
  from prompting where schedule.task = prompting.task
returning schedule.task
"""  # noqa: S608 - constants

Kind = Literal[
    "finalization",
    "end_of_vote",
    "settlement",
    "decision",
    "announcement",
    "automatic_dispute",
    "approval",
    "petition",
]


class DueMoment(Struct, frozen=True):
    """When a market is due for what a task does."""

    due_at: datetime
    """By the chain's clock."""
    market_id: str
    task: str
    kind: Kind

    @property
    def what(self) -> str:
        """The kind, in words."""
        return self.kind.replace("_", " ")


class MomentRules(Struct, frozen=True, kw_only=True):
    """What the daemon's settings say of when markets are due."""

    finalization_delay_seconds: int
    safety_margin_seconds: int
    trusted: tuple[str, ...]


class MomentLook(Struct, frozen=True):
    """What a look has found."""

    moments: tuple[DueMoment, ...]
    """By their times. Those that have prompted a run are not among them, until they may again."""
    changed: tuple[str, ...]
    """Markets whose votes or requests for a dispute may have come to suffice since the horizon."""
    horizon: str
    """Where to look from the next time."""
    acts_on_counts: bool
    """Whether a run could act on votes and requests: the task is one of those asked for, and not paused."""
    dispute_period_seconds: int
    approval_threshold_bps: int
    busy: tuple[str, ...]
    """Tasks that have a prompt, or a run that goes on."""


async def look(
    connection: Reads,
    tasks: Sequence[str],
    rules: MomentRules,
    *,
    now: datetime,
    until: datetime,
    horizon: str | None,
    limit: int,
) -> MomentLook:
    """The first moments, at most `limit` of each of `tasks`, that come by `until`.

    Both times are by the chain's clock. Tasks that are paused are left out.
    """
    rows = await connection.fetch(
        _LOOK,
        now,
        until,
        horizon,
        list(tasks),
        rules.finalization_delay_seconds,
        rules.safety_margin_seconds,
        list(rules.trusted),
        limit,
    )
    return MomentLook(
        moments=tuple(
            sorted(
                (
                    DueMoment(row["due_at"], row["market_id"], row["task"], row["kind"])
                    for row in rows
                    if row["task"] is not None
                ),
                key=lambda one: (one.due_at, one.market_id),
            )
        ),
        changed=tuple(row["market_id"] for row in rows if row["task"] is None and row["market_id"]),
        horizon=rows[0]["horizon"],
        acts_on_counts=rows[0]["acts_on_counts"],
        dispute_period_seconds=rows[0]["period_seconds"],
        approval_threshold_bps=rows[0]["threshold_bps"],
        busy=tuple(rows[0]["busy"]),
    )


async def prompt(connection: Reads, moments: Sequence[tuple[DueMoment, str]]) -> set[str]:
    """Let these moments, each with what operators read of it, prompt runs of their tasks.

    Those that have done so before do nothing, unless it is time for another attempt. Gives the tasks that
    have a prompt now.
    """
    rows = await connection.fetch(
        _PROMPT,
        [one.task for one, _ in moments],
        [one.kind for one, _ in moments],
        [one.market_id for one, _ in moments],
        [one.due_at for one, _ in moments],
        [text for _, text in moments],
    )
    return {row["task"] for row in rows}

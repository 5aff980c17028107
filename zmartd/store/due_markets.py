"""Markets that a periodic task acts on or reports. All of these take a service transaction or reader.

Deadlines are compared with times that the caller passes, because the chain's clock decides what is due.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from asyncpg import Record
from msgspec import Struct

from zmartd.market.lifecycle import MarketState
from zmartd.market.votes import petition_passes
from zmartd.store.electorates import NOT_KNOWN
from zmartd.store.postgres.reader import Reads

_WAITS = """exists (select from market_finalization_errors as failed
                     where failed.market_id = market.id and failed.resolved_at is null
                       and failed.next_attempt_at > $1)"""
"""Whether `market` waits for another attempt at $1, after a failure."""
# Of those against it whose wallets have not traded, so many count as the least number of votes needs.
_VOTED = f"""
select market.id, market.created_at as since
  from markets as market
 cross join lateral (
     select count(*) filter (where vote.vote) as yes, count(*) as total,
            count(*) filter (where vote.by_trader and not vote.vote) as no
       from proposal_votes as vote where vote.market_id = market.id
 ) as votes
 where market.state = 'PROPOSED' and market.chain_confirmed and votes.total >= $2::int
   and ($4::text[] is null or market.id = any($4::text[])) and not {_WAITS}
   and votes.yes * 10000 / greatest(votes.yes + votes.no, least(votes.total, $2), 1) >= $3::int
   {{beside}}
 order by market.created_at, market.id
"""  # noqa: S608 - constants
_VOTED_PROPOSALS = _VOTED.format(beside="")
_NOT_CLOSED = """
not exists (select from vote_tallies as tally where tally.market_id = market.id and tally.kind = '{kind}')
"""
PROPOSALS_TO_CLOSE = (
    _VOTED.format(
        beside=f"""and {_NOT_CLOSED.format(kind="proposal")}
       and ($5::timestamptz is null or (market.created_at, market.id) > ($5, $6::text))"""
    )
    + " limit $7"
)
_DISPUTES_TO_CLOSE = f"""
select market.id, market.dispute_initiated_at as since
  from markets as market
 where market.state = 'DISPUTED'
   and (market.dispute_initiated_at <= $2
        or exists (select from market_decisions as decided
                    where decided.market_id = market.id and decided.state = 'DISPUTED'))
   and not {_WAITS} and {_NOT_CLOSED.format(kind="dispute")}
   and ($3::timestamptz is null or (market.dispute_initiated_at, market.id) > ($3, $4::text))
 order by market.dispute_initiated_at, market.id limit $5
"""  # noqa: S608 - constants
_UNDISPUTED = f"""
select market.id,
       exists (select from market_decisions as decided
                where decided.market_id = market.id and decided.state = 'RESOLVING'
                  and decided.decision = 'keep') as kept
  from markets as market
 where market.state = 'RESOLVING' and market.resolution_proposed_at <= $2
   and (market.resolver_wallet = market.creator_wallet or market.resolver_wallet = any($4::text[])
        or exists (select from market_decisions as decided
                    where decided.market_id = market.id and decided.state = 'RESOLVING'
                      and decided.decision = 'keep'))
   and not {_WAITS}
 order by market.resolution_proposed_at, market.id
 limit $3
"""  # noqa: S608 - constants
_STRANGERS_RESOLUTIONS = """
select id
  from markets
 where state = 'RESOLVING'
   and resolver_wallet is distinct from creator_wallet and resolver_wallet <> all($1::text[])
 order by resolution_proposed_at, id
"""
_PETITIONS = f"""
select market.id, market.resolution_proposed_at, petition.*, not {NOT_KNOWN} as is_known
  from markets as market
 cross join lateral (
     select count(*) filter (where held.stake >= $1 and asked.user_wallet is not null) as requests,
            count(*) filter (where held.stake >= $1) as holders,
            coalesce(sum(held.stake) filter (where asked.user_wallet is not null), 0) as requests_stake,
            coalesce(sum(held.stake), 0) as holders_stake
       from dispute_electorate as held
       left join dispute_requests as asked using (market_id, user_wallet)
      where held.market_id = market.id
 ) as petition
 where market.state = 'RESOLVING' and ($2::text[] is null or market.id = any($2::text[]))
   and exists (select from dispute_requests as asked where asked.market_id = market.id)
 order by market.resolution_proposed_at, market.id
"""  # noqa: S608 - constants
_STUCK_WHERE: Mapping[MarketState, tuple[str, str]] = {
    state: (f"state = '{state.name}' and {condition}", since)
    for state, condition, since in (
        (
            MarketState.PROPOSED,
            "coalesce(state_changed_at, created_at) <= $1",
            "coalesce(state_changed_at, created_at)",
        ),
        (
            MarketState.APPROVED,
            "coalesce(state_changed_at, created_at) <= $1",
            "coalesce(state_changed_at, created_at)",
        ),
        (MarketState.ACTIVE, "end_date <= $2", "end_date"),
        (
            MarketState.RESOLVING,
            "resolution_proposed_at <= $3 and not awaiting_decision",
            "resolution_proposed_at",
        ),
        (
            MarketState.DISPUTED,
            "((dispute_initiated_at <= $4 and not awaiting_decision and settles_at is null)"
            " or settles_at <= $6)",
            "dispute_initiated_at",
        ),
    )
}
"""Which markets of a state are stuck, and since when; an index has the oldest of them first."""
_STUCK = " union all ".join(
    f"""
select '{state.name}' as state, (select count(*) from markets where {where}) as markets,
       array(select id from markets where {where} order by {since}, id limit $5) as oldest
 where '{state.name}' = any($7::text[])
"""  # noqa: S608 - constants
    for state, (where, since) in _STUCK_WHERE.items()
)


class DueMarket(Struct, frozen=True):
    """A market whose votes are to be closed, and when it came to the state that they are about."""

    id: str
    since: datetime


class UndisputedMarket(Struct, frozen=True):
    """A market whose proposed outcome nobody has disputed."""

    id: str
    kept: bool
    """Whether an admin decided to keep the outcome, whoever proposed it."""


class PetitionedMarket(Struct, frozen=True):
    """A resolved market for which holders have requested a dispute.

    `requests` and `holders` count wallets with at least the minimum stake. The other two are lamports.
    """

    id: str
    resolution_proposed_at: datetime
    requests: int
    holders: int
    requests_stake: int
    holders_stake: int
    is_known: bool
    """Whether all stakes are known."""

    def passes(self, threshold_bps: int) -> bool:
        """Whether so much of the stake or of the holders asks for a dispute; where not known, any."""
        return (
            not self.is_known
            or petition_passes(self.requests, self.holders, threshold_bps)
            or petition_passes(self.requests_stake, self.holders_stake, threshold_bps)
        )


class StuckDeadlines(Struct, frozen=True):
    """A market is stuck if it came to its state, or in ACTIVE ended, before the time given here."""

    proposed: datetime
    """For PROPOSED and APPROVED."""
    ended: datetime
    resolving: datetime
    disputed: datetime
    """For disputes that await no decision and have no announced settlement."""
    settlement: datetime
    """For disputes whose settlement was announced for a time."""


class StuckMarkets(Struct, frozen=True):
    """How many markets are stuck in a state, and the ids of those that have been for the longest."""

    state: MarketState
    markets: int
    oldest: tuple[str, ...]


async def voted_proposals(
    connection: Reads,
    minimum_votes: int,
    threshold_bps: int,
    now: datetime,
    among: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Ids of proposals that pass if all likes count, and of the dislikes of wallets that have never traded
    only so many as it takes to come to `minimum_votes`.

    Leaves out those that wait for another attempt after a failure. `among`: only of these markets.
    """
    rows = await connection.fetch(_VOTED_PROPOSALS, now, minimum_votes, threshold_bps, among)
    return tuple(row["id"] for row in rows)


async def proposals_to_close(
    connection: Reads,
    minimum_votes: int,
    threshold_bps: int,
    now: datetime,
    *,
    after: DueMarket | None,
    limit: int,
) -> list[DueMarket]:
    """Those of `voted_proposals` whose votes are open: at most `limit` of those that come after `after`."""
    since, market_id = _key(after)
    return _due(
        await connection.fetch(
            PROPOSALS_TO_CLOSE, now, minimum_votes, threshold_bps, None, since, market_id, limit
        )
    )


async def disputes_to_close(
    connection: Reads, initiated_until: datetime, now: datetime, *, after: DueMarket | None, limit: int
) -> list[DueMarket]:
    """Disputed markets whose votes are open although their dispute began by `initiated_until`, or an admin
    has decided about them: at most `limit` of those that come after `after`.

    Leaves out those that wait for another attempt after a failure.
    """
    since, market_id = _key(after)
    return _due(await connection.fetch(_DISPUTES_TO_CLOSE, now, initiated_until, since, market_id, limit))


async def undisputed(
    connection: Reads, proposed_until: datetime, now: datetime, limit: int, trusted: Sequence[str]
) -> tuple[UndisputedMarket, ...]:
    """Markets whose outcome was proposed by `proposed_until` and is not disputed.

    Only where their creator or a `trusted` wallet proposed it, or an admin decided to keep it. Leaves out
    those that wait for another attempt after a failure.
    """
    rows = await connection.fetch(_UNDISPUTED, now, proposed_until, limit, list(trusted))
    return tuple(UndisputedMarket(**dict(row)) for row in rows)


async def strangers_resolutions(connection: Reads, trusted: Sequence[str]) -> tuple[str, ...]:
    """Ids of markets whose outcome was proposed by neither their creator nor a `trusted` wallet."""
    rows = await connection.fetch(_STRANGERS_RESOLUTIONS, list(trusted))
    return tuple(row["id"] for row in rows)


async def petitions(
    connection: Reads, min_stake_lamports: int, among: Sequence[str] | None = None
) -> tuple[PetitionedMarket, ...]:
    """Resolved markets for which at least one holder has requested a dispute. `among`: only of these."""
    rows = await connection.fetch(_PETITIONS, min_stake_lamports, among)
    return tuple(PetitionedMarket(**dict(row)) for row in rows)


async def stuck(
    connection: Reads,
    deadlines: StuckDeadlines,
    examples: int,
    states: Collection[MarketState] = frozenset(_STUCK_WHERE),
) -> tuple[StuckMarkets, ...]:
    """The markets of each of these states that should have moved on and have not, with at most so many ids.

    It reads no others: how many there are decides what it costs.
    """
    rows = await connection.fetch(
        _STUCK,
        deadlines.proposed,
        deadlines.ended,
        deadlines.resolving,
        deadlines.disputed,
        examples,
        deadlines.settlement,
        [state.name for state in states],
    )
    return tuple(
        StuckMarkets(MarketState[row["state"]], row["markets"], tuple(row["oldest"]))
        for row in rows
        if row["markets"]
    )


def _key(after: DueMarket | None) -> tuple[datetime | None, str | None]:
    return (None, None) if after is None else (after.since, after.id)


def _due(rows: Sequence[Record]) -> list[DueMarket]:
    return [DueMarket(row["id"], row["since"]) for row in rows]

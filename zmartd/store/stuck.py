"""Markets that should have moved on and have not. Takes a service transaction."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from zmartd.market.lifecycle import MarketState
from zmartd.store.postgres.reader import Reads

_STUCK = """
with stuck as (
    select id, state, coalesce(state_changed_at, created_at) as since
      from markets
     where (state in ('PROPOSED', 'APPROVED') and coalesce(state_changed_at, created_at) <= $1)
        or (state = 'ACTIVE' and end_date <= $2)
        or (state = 'RESOLVING' and resolution_proposed_at <= $3 and not awaiting_decision)
        or (state = 'DISPUTED' and dispute_initiated_at <= $4
            and not awaiting_decision and settles_at is null)
        or (state = 'DISPUTED' and settles_at <= $6)
)
select state, count(*) as markets, (array_agg(id order by since, id))[1:$5] as oldest
  from stuck group by state order by state
"""


class Deadlines(Struct, frozen=True):
    """A market is stuck in a state that it came to, or in ACTIVE one that ended, by these times."""

    proposed: datetime
    ended: datetime
    resolving: datetime
    disputed: datetime
    settling: datetime
    """Disputes that were to be settled by then."""


class StuckMarkets(Struct, frozen=True):
    """How many markets are stuck in a state, and the ids of those that have been for the longest."""

    state: MarketState
    markets: int
    oldest: tuple[str, ...]


async def stuck(connection: Reads, deadlines: Deadlines, examples: int) -> tuple[StuckMarkets, ...]:
    """The stuck markets of each state, with at most so many ids of each."""
    rows = await connection.fetch(
        _STUCK,
        deadlines.proposed,
        deadlines.ended,
        deadlines.resolving,
        deadlines.disputed,
        examples,
        deadlines.settling,
    )
    return tuple(
        StuckMarkets(MarketState[row["state"]], row["markets"], tuple(row["oldest"])) for row in rows
    )

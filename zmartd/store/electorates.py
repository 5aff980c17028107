"""Whether it is known who may vote on a market's dispute, with what stake, and who has voted on the chain.

It is not where a transaction of the market could not be read: a correction holds what each wallet has, and
not what that had cost when the outcome was proposed. All of these take a service transaction or reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from zmartd.errors import ZmartdError
from zmartd.store.postgres.reader import Reads

NOT_KNOWN: Final = (
    "exists (select from market_corrections as made where made.market_id = market.id"
    " and made.unexplained && array['positions', 'dispute_votes', 'resolution_proposed_at'])"
)
"""SQL: whether that is not known of `market`."""
_NOT_KNOWN = f"select id from markets as market where id = any($1::text[]) and {NOT_KNOWN}"  # noqa: S608 - constants
_UNDECIDED = f"""
select id from markets as market
 where state = 'DISPUTED' and {NOT_KNOWN}
   and not exists (select from market_decisions as decided
                    where decided.market_id = market.id and decided.state = 'DISPUTED')
 order by dispute_initiated_at, id
"""  # noqa: S608 - constants
_UNREAD = """
select truncated.tx_signature
  from markets as market
  join truncated_transactions as truncated on truncated.changes @> array[market.on_chain_address::text]
 where market.id = $1 and truncated.resolved_at is null
   and (not truncated.complete or truncated.reason is not null)
   and (truncated.block_time is null
        or truncated.block_time <= market.dispute_initiated_at + $2::interval)
 order by truncated.slot limit 1
"""


class ElectorateNotKnown(ZmartdError):
    """A transaction of this market could not be read, so that its votes settle nothing: an admin decides."""

    code = "electorate_not_known"


class VotesUnread(ZmartdError):
    """A transaction of this market is not read yet, which may be a vote: run `zmartd audit --repair`."""

    code = "votes_unread"


async def not_known(connection: Reads, market_ids: Sequence[str]) -> set[str]:
    """Of these markets those whose electorate is not known."""
    return {row["id"] for row in await connection.fetch(_NOT_KNOWN, list(market_ids))}


async def require_known(connection: Reads, market_id: str) -> None:
    """Raises ElectorateNotKnown."""
    if await not_known(connection, [market_id]):
        raise ElectorateNotKnown


async def require_read(connection: Reads, market_id: str, dispute_period_seconds: int) -> None:
    """Raises VotesUnread while events are missing of a transaction from before the end of the voting."""
    period = timedelta(seconds=dispute_period_seconds)
    signature = await connection.fetchval(_UNREAD, market_id, period)
    if signature is not None:
        raise VotesUnread(
            f"events are missing of the transaction {signature}: the next run counts again; if it stays so, "
            "run `zmartd audit --repair`"
        )


async def require_decided(connection: Reads) -> None:
    """Raises ElectorateNotKnown where disputed markets can be settled by an admin alone, and none has."""
    undecided = await connection.fetch(_UNDECIDED)
    if undecided:
        raise ElectorateNotKnown(
            f"{len(undecided)} disputed markets await an admin's decision, the first of them "
            f"{undecided[0]['id']}: a transaction could not be read, so that their votes settle nothing; "
            "once they are counted, `zmartd decide` decides"
        )

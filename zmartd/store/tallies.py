"""Vote counts on their way to the chain. While one is open, no vote of its kind is taken on its market."""

from __future__ import annotations

from datetime import datetime

from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.market.lifecycle import VoteKind
from zmartd.store.votes import VoteCounts

_LOCK = "select zmartd.lock_votes($1, $2)"
_TAKE = {
    VoteKind.PROPOSAL: """
        insert into vote_tallies (market_id, kind, yes, no)
        select $1::text, 'proposal', count(*) filter (where vote), count(*) filter (where not vote)
          from proposal_votes where market_id = $1::text
        on conflict (market_id, kind) do nothing
    """,
    VoteKind.DISPUTE: """
        insert into vote_tallies (market_id, kind, yes, no)
        select $1::text, 'dispute', count(*) filter (where vote), count(*) filter (where not vote)
          from dispute_votes where market_id = $1::text
        on conflict (market_id, kind) do nothing
    """,
}
_COLUMNS = "select market_id, kind, yes, no, taken_at, signature from vote_tallies "
_FIND = _COLUMNS + "where market_id = $1 and kind = $2"
_OPEN = _COLUMNS + "where kind = $1 order by taken_at, market_id"
_SENT = "update vote_tallies set signature = $3 where market_id = $1 and kind = $2"
_RELEASE = "delete from vote_tallies where market_id = $1 and kind = $2"


class Tally(Struct, frozen=True):
    """A count that is being recorded on the chain, by the transaction `signature` once there is one."""

    market_id: str
    kind: VoteKind
    counts: VoteCounts
    taken_at: datetime
    signature: str | None


async def take(connection: Connection, kind: VoteKind, market_id: str) -> Tally:
    """Close the vote and count it; a tally that is open already stays as it is.

    Waits for votes that are being cast, so that each vote is either counted or refused. Takes a service
    transaction of its own, because voters wait for its end.
    """
    await connection.execute(_LOCK, market_id, kind)
    await connection.execute(_TAKE[kind], market_id)
    row = await connection.fetchrow(_FIND, market_id, kind)
    assert row is not None, "a tally that was just taken"
    return _tally(row)


async def open_tallies(connection: Connection, kind: VoteKind) -> tuple[Tally, ...]:
    """What was being recorded when a run ended, oldest first. Takes a service transaction."""
    return tuple(_tally(row) for row in await connection.fetch(_OPEN, kind))


async def sent(connection: Connection, kind: VoteKind, market_id: str, signature: str) -> None:
    """Remember which transaction records the tally. Takes a service transaction."""
    await connection.execute(_SENT, market_id, kind, signature)


async def release(connection: Connection, kind: VoteKind, market_id: str) -> None:
    """Forget the tally: it is on the chain, or never will be and voting goes on.

    Takes a service transaction.
    """
    await connection.execute(_RELEASE, market_id, kind)


def _tally(row: Record) -> Tally:
    return Tally(
        market_id=row["market_id"],
        kind=VoteKind(row["kind"]),
        counts=VoteCounts(row["yes"], row["no"]),
        taken_at=row["taken_at"],
        signature=row["signature"],
    )

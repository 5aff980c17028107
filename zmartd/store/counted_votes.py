"""The counted votes of a market as everybody may read them, also once it has moved on."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.market.lifecycle import VoteKind
from zmartd.market.votes import CountingRule, VoteCounts
from zmartd.store.postgres.reader import Reads

_DISPUTE_COLUMNS = (
    "yes, no, stake_yes, stake_no, electorate_wallets, electorate_stake, not_counted, counted_at, "
    "threshold_bps, quorum_bps, decided_by, signature"
)
_PROPOSAL_COLUMNS = "yes, no, not_counted, counted_at, threshold_bps, min_votes, decided_by, signature"
_FIND = {
    kind: f"""
select {columns} from (
    select 1 as place, {columns}
      from vote_tallies where market_id = $1 and kind = '{kind}' and counted_at is not null
    union all
    select 2, {columns} from {table} where market_id = $1 and $2
) as counted order by place limit 1
"""  # noqa: S608 - constants
    for kind, table, columns in (
        (VoteKind.PROPOSAL, "settled_proposals", _PROPOSAL_COLUMNS),
        (VoteKind.DISPUTE, "settled_disputes", _DISPUTE_COLUMNS),
    )
}
_KEEP = {
    kind: f"""
insert into {table} (market_id, {columns})
select market_id, {columns}
  from vote_tallies where market_id = $1 and kind = '{kind}' and counted_at is not null
on conflict (market_id) do update
   set {", ".join(f"{column} = excluded.{column}" for column in columns.split(", "))}
"""  # noqa: S608 - constants
    for kind, table, columns in (
        (VoteKind.PROPOSAL, "settled_proposals", _PROPOSAL_COLUMNS),
        (VoteKind.DISPUTE, "settled_disputes", _DISPUTE_COLUMNS),
    )
}
_NO_STAKES: Final = {"stake_yes": 0, "stake_no": 0, "electorate_wallets": 0, "electorate_stake": 0}


class CountedVotes(Struct, frozen=True, kw_only=True):
    """The counted votes on a proposal or a dispute. Stakes are lamports, and zero for proposals.

    `rule` is what they were held to, and `signature` the transaction that recorded them; None before there is
    one, and where it was done past the daemon.
    """

    counts: VoteCounts
    stake: VoteCounts
    electorate_wallets: int
    electorate_stake: int
    not_counted: int
    counted_at: datetime
    rule: CountingRule | None
    signature: str | None


async def find(connection: Reads, kind: VoteKind, market_id: str, *, is_over: bool) -> CountedVotes | None:
    """The counted votes on a market; None before they are counted. Any caller may read them.

    `is_over`: also those that decided it, where the market has moved on to its next state.
    """
    row = await connection.fetchrow(_FIND[kind], market_id, is_over)
    if row is None:
        return None
    stakes = row if kind is VoteKind.DISPUTE else _NO_STAKES
    return CountedVotes(
        counts=VoteCounts(row["yes"], row["no"]),
        stake=VoteCounts(int(stakes["stake_yes"]), int(stakes["stake_no"])),
        electorate_wallets=stakes["electorate_wallets"],
        electorate_stake=int(stakes["electorate_stake"]),
        not_counted=row["not_counted"],
        counted_at=row["counted_at"],
        rule=rule_of(row),
        signature=row["signature"],
    )


async def keep(connection: Connection, kind: VoteKind, market_id: str) -> None:
    """Keep what a market's tally has counted, for when it is deleted. Takes a service transaction."""
    await connection.execute(_KEEP[kind], market_id)


def rule_of(row: Record) -> CountingRule | None:
    """The rule in the columns of a tally; None where they are empty."""
    if row["threshold_bps"] is None:
        return None
    return CountingRule(
        threshold_bps=row["threshold_bps"],
        min_votes=row.get("min_votes"),
        quorum_bps=row.get("quorum_bps"),
        decided_by=row["decided_by"],
    )

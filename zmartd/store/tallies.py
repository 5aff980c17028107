"""Vote counts to be recorded on the chain. While a market has a tally, it takes no votes of that kind."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.market.decisions import Decision
from zmartd.market.lifecycle import VoteKind
from zmartd.market.votes import CountingRule, VoteCounts
from zmartd.store import counted_votes
from zmartd.store.postgres.reader import Reads
from zmartd.store.voters import HOLDERS_WHO_VOTED, NOT_VERIFIED

_LOCK = "select zmartd.lock_votes($1, $2)"
_CLOSE = """
insert into vote_tallies (market_id, kind, yes, no) values ($1, $2, 0, 0)
on conflict (market_id, kind) do nothing
"""
_COUNT_PROPOSAL = """
update vote_tallies as tally
   set yes = counted.yes, no = counted.no, not_counted = counted.others, counted_at = now()
  from (
    select count(*) filter (where counts and vote) as yes,
           count(*) filter (where counts and not vote) as no,
           count(*) filter (where not counts) as others
      from (
        select vote.vote,
               $2 or exists (select from user_positions as held
                              where held.user_wallet = vote.user_wallet and held.trades_count > 0)
                  or exists (select from voter_balances as held
                              where held.market_id = $1 and held.user_wallet = vote.user_wallet
                                and held.holds) as counts
          from proposal_votes as vote where vote.market_id = $1::text
      ) as cast_votes
  ) as counted
 where tally.market_id = $1::text and tally.kind = 'proposal' and tally.counted_at is null
   and ($2::boolean
        or exists (select from voter_checks where market_id = $1 and kind = 'proposal' and is_complete)
           and not exists (select from voter_balances where market_id = $1 and holds is null))
"""
_DISPUTE_COUNTS = """(
    select count(*) filter (where held.stake is not null and vote.vote) as yes,
           count(*) filter (where held.stake is not null and not vote.vote) as no,
           coalesce(sum(held.stake) filter (where vote.vote), 0) as stake_yes,
           coalesce(sum(held.stake) filter (where not vote.vote), 0) as stake_no,
           count(*) filter (where held.stake is null) as others
      from dispute_votes as vote left join dispute_electorate as held using (market_id, user_wallet)
     where vote.market_id = $1::text
) as counted, (
    select count(*) as wallets, coalesce(sum(stake), 0) as stake
      from dispute_electorate where market_id = $1::text
) as electorate"""
_COUNT_DISPUTE = f"""
update vote_tallies as tally
   set yes = counted.yes, no = counted.no, stake_yes = counted.stake_yes, stake_no = counted.stake_no,
       not_counted = counted.others, electorate_wallets = electorate.wallets,
       electorate_stake = electorate.stake, counted_at = now()
  from {_DISPUTE_COUNTS}
 where tally.market_id = $1::text and tally.kind = 'dispute' and tally.counted_at is null
   and ($2::boolean
        or not exists (select from ({HOLDERS_WHO_VOTED}) as voter where market_id = $1 and {NOT_VERIFIED}))
"""  # noqa: S608 - constants
_PREVIEW_DISPUTE = f"""
select $1::text as market_id, 'dispute' as kind, counted.yes, counted.no, counted.stake_yes,
       counted.stake_no, electorate.wallets as electorate_wallets, electorate.stake as electorate_stake,
       counted.others as not_counted, now() as taken_at, now() as counted_at,
       null as verdict, null::timestamptz as settles_at, null as signature,
       null::int as threshold_bps, null::int as min_votes, null::int as quorum_bps, null as decided_by
  from {_DISPUTE_COUNTS}
"""  # noqa: S608 - constants
_COLUMNS = """
select market_id, kind, yes, no, stake_yes, stake_no, electorate_wallets, electorate_stake, not_counted,
       taken_at, counted_at, verdict, settles_at, signature, threshold_bps, min_votes, quorum_bps, decided_by
  from vote_tallies
"""
_FIND = _COLUMNS + "where market_id = $1 and kind = $2"
_FIND_ALL = _COLUMNS + "where kind = $1 and market_id = any($2::text[])"
_NOT_COUNTED = """
select tally.market_id
  from vote_tallies as tally left join voter_checks as checked using (market_id, kind)
 where tally.kind = $1 and tally.counted_at is null and tally.market_id <> all($2::text[])
 order by coalesce(checked.requests, 0), tally.taken_at, tally.market_id limit $3
"""
# A market that waits after a failure is looked at again when its state has changed, or an admin has decided.
_COUNTED = f"""
{_COLUMNS} as tally
 where kind = $1 and counted_at is not null
   and ($2::timestamptz is null or (taken_at, market_id) > ($2, $3::text))
   and not exists (
       select from market_finalization_errors as failed join markets as market on market.id = failed.market_id
        where failed.market_id = tally.market_id and failed.resolved_at is null
          and failed.next_attempt_at > $4 and market.state = $5
          and not exists (select from market_decisions as decided
                           where decided.market_id = market.id and decided.state = $5
                             and decided.decided_at > failed.updated_at))
 order by taken_at, market_id limit $6
"""  # noqa: S608 - constants
_LOCK_ALL = """
select zmartd.lock_votes(market_id, $2)
  from (select market_id from unnest($1::text[]) as asked (market_id) order by market_id) as sorted
"""
_SENT = """
update vote_tallies as tally
   set signature = sent.signature, threshold_bps = sent.threshold_bps, min_votes = sent.min_votes,
       quorum_bps = sent.quorum_bps, decided_by = sent.decided_by
  from unnest($2::text[], $3::text[], $4::int[], $5::int[], $6::int[], $7::text[])
       as sent (market_id, signature, threshold_bps, min_votes, quorum_bps, decided_by)
 where tally.market_id = sent.market_id and tally.kind = $1
"""
_MAY_STAND = """exists (select from outbox_transactions as sent
                    where sent.signature = tally.signature
                      and (sent.status = 'pending' or (sent.status = 'landed' and sent.slot > $3)))"""
"""Whether the transaction of `tally` may still land, or landed after the slot $3."""
_NOT_SENT = f"""
update vote_tallies as tally
   set signature = null, threshold_bps = null, min_votes = null, quorum_bps = null, decided_by = null
 where market_id = $1 and kind = $2 and not {_MAY_STAND}
"""  # noqa: S608 - constants
_ANNOUNCE = """
update vote_tallies set verdict = $2, settles_at = $3
 where market_id = $1 and kind = 'dispute' and verdict is distinct from $2
returning true
"""
_REOPEN = f"""
delete from vote_tallies as tally
 where market_id = $1 and kind = $2 and not {_MAY_STAND}
"""  # noqa: S608 - constants
_RELEASE = "delete from vote_tallies where market_id = $1 and kind = $2"


class Tally(Struct, frozen=True):
    """The closed votes of one kind on a market.

    `counted_at` is None until they are counted, and `signature` until there is a transaction that records
    the counts. `verdict` is the announced result of a dispute, carried out at `settles_at` unless an admin
    decides otherwise. Stakes are lamports, and zero for proposals.
    """

    market_id: str
    kind: VoteKind
    counts: VoteCounts
    stake: VoteCounts
    electorate_wallets: int
    electorate_stake: int
    not_counted: int
    taken_at: datetime
    counted_at: datetime | None
    verdict: Decision | None
    settles_at: datetime | None
    signature: str | None
    rule: CountingRule | None = None
    """What the counts were held to for that transaction."""


async def lock(connection: Connection, kind: VoteKind, market_id: str) -> None:
    """Lock the votes of this kind on a market until the transaction ends.

    Voters wait for that, and so do tasks that close the votes or act on them. Takes a service transaction.
    """
    await connection.execute(_LOCK, market_id, kind)


async def close(connection: Connection, kind: VoteKind, market_id: str) -> Tally:
    """Close the votes. A tally that exists stays as it is.

    Waits for votes that are being cast, so that each one is either counted or refused. Takes a service
    transaction of its own, because voters wait for its end.
    """
    await lock(connection, kind, market_id)
    await connection.execute(_CLOSE, market_id, kind)
    tally = await find(connection, kind, market_id)
    assert tally is not None, "a row that was just written"
    return tally


async def count_proposal(connection: Connection, market_id: str, *, everybody: bool) -> Tally | None:
    """Count the closed votes, unless they are counted: everybody's, or those of the wallets that have traded
    before or have the least balance.

    They stay uncounted while it is not known of all wallets whether they have that; see
    `zmartd.store.voter_checks`. None if another run has released the tally. Takes a service transaction.
    """
    await connection.execute(_COUNT_PROPOSAL, market_id, everybody)
    return await find(connection, VoteKind.PROPOSAL, market_id)


async def count_dispute(
    connection: Connection, market_id: str, *, also_unverified: bool = False
) -> Tally | None:
    """Count the closed votes of the electorate by wallet and by stake, unless they are counted.

    They stay uncounted while one of them is not verified as it is now, unless `also_unverified`. None if
    another run has released the tally. Takes a service transaction.
    """
    await connection.execute(_COUNT_DISPUTE, market_id, also_unverified)
    return await find(connection, VoteKind.DISPUTE, market_id)


async def preview_dispute(connection: Reads, market_id: str) -> Tally:
    """What `count_dispute` would record if the votes were closed now. Takes a service reader."""
    return _tally(await connection.fetchrow(_PREVIEW_DISPUTE, market_id))


async def find(connection: Reads, kind: VoteKind, market_id: str) -> Tally | None:
    """The tally of a market, if it has one. Any caller may read it."""
    row = await connection.fetchrow(_FIND, market_id, kind)
    return None if row is None else _tally(row)


async def find_all(connection: Reads, kind: VoteKind, market_ids: Sequence[str]) -> dict[str, Tally]:
    """The tallies of those of these markets that have one, by market. Any caller may read them."""
    found = await connection.fetch(_FIND_ALL, kind, list(market_ids))
    return {row["market_id"]: _tally(row) for row in found}


async def not_counted(
    connection: Reads, kind: VoteKind, limit: int, *, but: Collection[str] = ()
) -> list[str]:
    """Markets whose votes are closed and not counted yet, but those: first those for which the node was asked
    least. Takes a service reader.
    """
    rows = await connection.fetch(_NOT_COUNTED, kind, list(but), limit)
    return [row["market_id"] for row in rows]


async def counted(
    connection: Reads, kind: VoteKind, now: datetime, *, after: Tally | None = None, limit: int
) -> list[Tally]:
    """Counted tallies, the oldest first: at most `limit` of those that come after `after`.

    Leaves out those whose market waits for another attempt after a failure. Takes a service reader.
    """
    taken_at, market_id = (None, None) if after is None else (after.taken_at, after.market_id)
    rows = await connection.fetch(_COUNTED, kind, taken_at, market_id, now, kind.open_state.name, limit)
    return [_tally(row) for row in rows]


async def announce(
    connection: Connection, market_id: str, verdict: Decision | None, settles_at: datetime | None
) -> bool:
    """Record the verdict on a dispute and when it is carried out, or None for both.

    False if this verdict was recorded before. Takes a service transaction.
    """
    return bool(await connection.fetchval(_ANNOUNCE, market_id, verdict, settles_at))


async def set_signature(
    connection: Connection, kind: VoteKind, market_id: str, signature: str, rule: CountingRule
) -> None:
    """Record the transaction of the tally, and what the counts were held to. Takes a service transaction."""
    await set_signatures(connection, kind, {market_id: signature}, {market_id: rule})


async def set_signatures(
    connection: Connection, kind: VoteKind, signatures: Mapping[str, str], rules: Mapping[str, CountingRule]
) -> None:
    """As `set_signature`, for several tallies, by market. Takes a service transaction."""
    held_to = [rules[market_id] for market_id in signatures]
    await connection.execute(
        _SENT,
        kind,
        list(signatures),
        list(signatures.values()),
        [rule.threshold_bps for rule in held_to],
        [rule.min_votes for rule in held_to],
        [rule.quorum_bps for rule in held_to],
        [rule.decided_by for rule in held_to],
    )


async def clear_signature(connection: Connection, kind: VoteKind, market_id: str, read_at_slot: int) -> None:
    """Record that the transaction of the tally did not land, unless it may still, or landed after the
    market's account was read at `read_at_slot`: it is then another daemon's. Takes a service transaction of
    its own.
    """
    await lock(connection, kind, market_id)
    await connection.execute(_NOT_SENT, market_id, kind, read_at_slot)


async def lock_all(connection: Connection, kind: VoteKind, market_ids: Iterable[str]) -> dict[str, Tally]:
    """Lock the votes of this kind on all of these markets, as `lock` does; their tallies, by market.

    Takes a service transaction.
    """
    asked = list(market_ids)
    await connection.execute(_LOCK_ALL, asked, kind)
    return await find_all(connection, kind, asked)


async def release(connection: Connection, kind: VoteKind, market_id: str) -> None:
    """Delete the tally: it is on the chain, or the votes are open again. Takes a service transaction."""
    await connection.execute(_RELEASE, market_id, kind)


async def reopen(connection: Connection, kind: VoteKind, market_id: str, read_at_slot: int) -> None:
    """Delete the tally, so that votes are taken again, unless its transaction may still land, or landed after
    the market's account was read at `read_at_slot`. Takes a service transaction of its own.
    """
    # A statement of its own: the next one must see the transaction that the last holder of the lock recorded.
    await lock(connection, kind, market_id)
    await connection.execute(_REOPEN, market_id, kind, read_at_slot)


async def settle(connection: Connection, kind: VoteKind, market_id: str) -> None:
    """Delete the tally, whose market has come to another state; what was counted stays to be read.

    Takes a service transaction.
    """
    await counted_votes.keep(connection, kind, market_id)
    await release(connection, kind, market_id)


def _tally(row: Record | None) -> Tally:
    assert row is not None, "one row is selected"
    return Tally(
        market_id=row["market_id"],
        kind=VoteKind(row["kind"]),
        counts=VoteCounts(row["yes"], row["no"]),
        stake=VoteCounts(int(row["stake_yes"]), int(row["stake_no"])),
        electorate_wallets=row["electorate_wallets"],
        electorate_stake=int(row["electorate_stake"]),
        not_counted=row["not_counted"],
        taken_at=row["taken_at"],
        counted_at=row["counted_at"],
        verdict=None if row["verdict"] is None else Decision(row["verdict"]),
        settles_at=row["settles_at"],
        signature=row["signature"],
        rule=counted_votes.rule_of(row),
    )

"""Vote counts to be recorded on the chain. While a market has a tally, it takes no votes of that kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from asyncpg import Connection, Record
from msgspec import Struct

from zmartd.market.decisions import Decision
from zmartd.market.lifecycle import VoteKind
from zmartd.market.votes import CountingRule, VoteCounts
from zmartd.store import counted_votes
from zmartd.store.postgres.reader import Reads

_LOCK = "select zmartd.lock_votes($1, $2)"
_CLOSE = """
insert into vote_tallies (market_id, kind, yes, no) values ($1, $2, 0, 0)
on conflict (market_id, kind) do nothing
"""
_PROPOSAL_COUNTS = """(
    select count(*) filter (where user_wallet = any($2::text[]) and vote) as yes,
           count(*) filter (where user_wallet = any($2::text[]) and not vote) as no,
           count(*) filter (where user_wallet <> all($2::text[])) as others
      from proposal_votes where market_id = $1::text
) as counted"""
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
_COUNT_PROPOSAL = f"""
update vote_tallies as tally
   set yes = counted.yes, no = counted.no, not_counted = counted.others, counted_at = now()
  from {_PROPOSAL_COUNTS}
 where tally.market_id = $1::text and tally.kind = 'proposal' and tally.counted_at is null
"""  # noqa: S608 - constants
_COUNT_DISPUTE = f"""
update vote_tallies as tally
   set yes = counted.yes, no = counted.no, stake_yes = counted.stake_yes, stake_no = counted.stake_no,
       not_counted = counted.others, electorate_wallets = electorate.wallets,
       electorate_stake = electorate.stake, counted_at = now()
  from {_DISPUTE_COUNTS}
 where tally.market_id = $1::text and tally.kind = 'dispute' and tally.counted_at is null
"""  # noqa: S608 - constants
_PLAN_FOR_THIS_LIST = "set local plan_cache_mode = force_custom_plan"
"""Postgres compares with a list by its hashes only in a plan that was made for it."""
_PREVIEW = """
select $1::text as market_id, '{kind}' as kind, counted.yes, counted.no, {stakes},
       counted.others as not_counted, now() as taken_at, now() as counted_at,
       null as verdict, null::timestamptz as settles_at, null as signature,
       null::int as threshold_bps, null::int as min_votes, null::int as quorum_bps, null as decided_by
  from {counts}
"""
_PREVIEW_PROPOSAL = _PREVIEW.format(
    kind="proposal",
    stakes="0 as stake_yes, 0 as stake_no, 0 as electorate_wallets, 0 as electorate_stake",
    counts=_PROPOSAL_COUNTS,
)
_PREVIEW_DISPUTE = _PREVIEW.format(
    kind="dispute",
    stakes="counted.stake_yes, counted.stake_no, electorate.wallets as electorate_wallets,"
    " electorate.stake as electorate_stake",
    counts=_DISPUTE_COUNTS,
)
_COLUMNS = """
select market_id, kind, yes, no, stake_yes, stake_no, electorate_wallets, electorate_stake, not_counted,
       taken_at, counted_at, verdict, settles_at, signature, threshold_bps, min_votes, quorum_bps, decided_by
  from vote_tallies
"""
_FIND = _COLUMNS + "where market_id = $1 and kind = $2"
_FIND_ALL = _COLUMNS + "where kind = $1 and market_id = any($2::text[])"
_OPEN = (
    _COLUMNS
    + """
where kind = $1
  and not exists (select from market_finalization_errors as failed
                   where failed.market_id = vote_tallies.market_id and failed.resolved_at is null
                     and failed.next_attempt_at > $2)
order by taken_at, market_id
"""
)
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


async def count_proposal(connection: Connection, market_id: str, eligible: Sequence[str]) -> Tally | None:
    """Count the closed votes of the `eligible` wallets, unless they are counted. Takes a service transaction.

    None if another run has released the tally.
    """
    await connection.execute(_PLAN_FOR_THIS_LIST)
    await connection.execute(_COUNT_PROPOSAL, market_id, list(eligible))
    return await find(connection, VoteKind.PROPOSAL, market_id)


async def count_dispute(connection: Connection, market_id: str) -> Tally | None:
    """Count the closed votes of the electorate by wallet and by stake, unless they are counted.

    None if another run has released the tally. Takes a service transaction.
    """
    await connection.execute(_COUNT_DISPUTE, market_id)
    return await find(connection, VoteKind.DISPUTE, market_id)


async def preview_proposal(connection: Reads, market_id: str, eligible: Sequence[str]) -> Tally:
    """What `count_proposal` would record if the votes were closed now. Takes a service reader."""
    return _tally(await connection.fetchrow(_PREVIEW_PROPOSAL, market_id, list(eligible)))


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


async def open_tallies(connection: Reads, kind: VoteKind, now: datetime) -> tuple[Tally, ...]:
    """All tallies of a kind, the oldest first. Takes a service reader.

    Leaves out those of markets that wait at `now`, by the chain's clock, for another attempt after a failure.
    """
    return tuple(_tally(row) for row in await connection.fetch(_OPEN, kind, now))


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

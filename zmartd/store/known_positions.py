"""Reads a wallet's positions again, and of them only what has changed since they were read.

A row of Postgres is never changed but replaced by another, which carries the id of the transaction that made
it (`xmin`). A row that is visible now, and was made by a transaction that had ended when the positions were
read before, was there then. So a position is the same if that is true of all rows that it is made of, and if
none of them has gone, which is told by their number: those that came are new. (Postgres documentation, System
Columns and System Information Functions: all ids below pg_snapshot_xmin belong to transactions that have
ended. Ids of subtransactions are greater than that of their transaction.)

A server that recovers from a crash gives ids again that it gave to transactions of which its log had nothing
yet. When a backend dies, its postmaster goes on, and only statistics begin anew. (The Cumulative Statistics
System: all counters are reset after an unclean shutdown.)
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from zmartd.store.keyset import to_micros
from zmartd.store.positions import NEWEST_TRADE, Holdings
from zmartd.store.postgres.plans import kept
from zmartd.store.postgres.reader import Reads
from zmartd.store.raw_positions import POSITION_ROW, RawPosition, position_of

# The age of an id is how many have been given out since it, also where they have begun anew.
_CHANGED: Final = """
$2::xid is null
or least(age(held.made_by), age(market.made_by), age(protocol.xmin), age(coalesce(yes.made_by, held.made_by)),
         age(coalesce(no.made_by, held.made_by))) <= age($2::xid)
"""
# As all positions are read in `zmartd.store.positions`.
_READ: Final = kept(f"""
select (select concat(pg_postmaster_start_time(), '/', (select stats_reset from pg_stat_bgwriter), '/', oid)
          from pg_database join (values (current_database())) as present (name) on datname = name) as server,
       (select pg_snapshot_xmin(pg_current_snapshot())::xid) as since,
       {NEWEST_TRADE} as newest_trade,
       array_agg({POSITION_ROW}) filter (where changed) as rows,
       array_agg(held.last_trade_at) filter (where changed) as traded_at,
       array_agg(lots) filter (where changed) as lots,
       count(*) filter (where not changed) as unchanged,
       coalesce(sum(lots) filter (where not changed), 0) as unchanged_lots
  from (select *, xmin as made_by from user_positions where user_wallet = $1 offset 0) as held
  full join (
    select market_id, shares, cost, xmin as made_by from lots where user_wallet = $1 and outcome offset 0
  ) as yes on yes.market_id = held.market_id
  full join (
    select market_id, shares, cost, xmin as made_by from lots where user_wallet = $1 and not outcome offset 0
  ) as no on no.market_id = held.market_id
  left join lateral (
    select on_chain_address, question, state, b_parameter, shares_yes, shares_no, current_liquidity,
           current_price_yes, proposed_outcome, final_outcome, xmin as made_by
      from markets where id = held.market_id offset 0
  ) as market on true
  join protocol on coalesce(held.market_id, '') <> ''
 cross join lateral (
    select {_CHANGED} as changed, num_nonnulls(yes.market_id, no.market_id) as lots offset 0
 ) as compared
""")  # noqa: S608 - constants

_Rank = tuple[bool, int, str]


class _Known(Struct, frozen=True):
    row: RawPosition
    lots: int
    """Of how many lots it is made."""
    rank: _Rank
    """The last traded first, those never traded last."""


class KnownPositions(Struct, frozen=True):
    """All positions of a wallet, as they were when a transaction read them."""

    server: str
    """Which database of a server it was, since its last start or recovery: others count their transactions by
    themselves."""
    since: int
    """All transactions before this one had ended."""
    by_market: dict[str, _Known]
    lots: int
    holdings: Holdings


async def read(connection: Reads, wallet: str, known: KnownPositions | None = None) -> KnownPositions:
    """The positions of a wallet as they are now, with `known` from a read of the last minutes.

    Takes a reader of that wallet: what a transaction has written itself may be taken back later.
    """
    found = await connection.fetchrow(_READ, wallet, None if known is None else known.since)
    assert found is not None, "an aggregate always has a row"
    changed: dict[str, _Known] = {}
    columns = (found[name] or () for name in ("rows", "traded_at", "lots"))
    for raw, traded_at, lots in zip(*columns, strict=True):
        row = RawPosition(raw)
        market_id = position_of(row).market.id
        micros = None if traded_at is None else to_micros(traded_at)
        changed[market_id] = _Known(row, lots, (micros is None, -(micros or 0), market_id))
    by_market, lots = changed, sum(one.lots for one in changed.values())
    if known is not None:
        gone = [known.by_market[one] for one in changed if one in known.by_market]
        kept_lots = known.lots - sum(one.lots for one in gone)
        is_as_known = (found["server"], found["unchanged"], found["unchanged_lots"]) == (
            known.server,
            len(known.by_market) - len(gone),
            kept_lots,
        )
        if not is_as_known:
            return await read(connection, wallet)
        by_market, lots = known.by_market | changed, kept_lots + lots
    if known is not None and not changed and known.holdings.newest_trade == found["newest_trade"]:
        holdings = known.holdings
    else:
        holdings = _holdings(by_market, found["newest_trade"])
    return KnownPositions(found["server"], found["since"], by_market, lots, holdings)


def _holdings(by_market: dict[str, _Known], newest_trade: int) -> Holdings:
    ordered = sorted(by_market.values(), key=lambda one: one.rank)
    traded_at = tuple(position_of(one.row).last_trade_at for one in ordered)
    return Holdings(tuple(one.row for one in ordered), traded_at, newest_trade)

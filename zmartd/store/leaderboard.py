"""Leaderboards: wallets ranked by profit, volume and trades, computed in editions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from asyncpg import Connection
from msgspec import Meta, Struct

from zmartd.store.keyset import BigInt, CountedPage, counted_page_of, with_total
from zmartd.store.postgres.reader import Reads
from zmartd.store.postgres.rls import ANONYMOUS, AUTHENTICATED, Caller

Period = Literal["24h", "7d", "30d", "all"]
Ranking = Literal["profit", "volume", "trades"]

MOST_RANKS: Final = 1_000
EDITIONS_KEPT: Final = 4
REFRESH_SECONDS: Final = 300.0
"""How long the statement that computes an edition may take."""

_NEWEST = "select id, as_of, markets_version from leaderboard_editions order by id desc limit 1"
_FIND = "select id, as_of, markets_version from leaderboard_editions where id = $1"
_MARKETS_VERSION = "select coalesce(sum(version), 0) from markets"
_WHOLE_WALLETS = """
select rank, wallet, profit, volume, trades from leaderboard
 where edition = $1 and period = $2 and ranking = $3 and rank > $4
 order by rank limit $5
"""
_LAST_RANK = """
(select coalesce(max(rank), 0) from leaderboard where edition = $1 and period = $2 and ranking = $3)
"""
"""The number of ranks, because none is left out or given twice."""
_ENTRIES = {
    ANONYMOUS: with_total(
        _LAST_RANK, _WHOLE_WALLETS.replace("wallet,", "wallet_masked as wallet,"), "order by rank"
    ),
    AUTHENTICATED: with_total(_LAST_RANK, _WHOLE_WALLETS, "order by rank"),
}
_ALLOW_TIME = f"set local statement_timeout = {int(REFRESH_SECONDS * 1_000)}"
_OPEN_EDITION = "insert into leaderboard_editions (as_of, markets_version) values ($1, $2) returning id"
_PURGE = "delete from leaderboard_editions where id <= $1"
_FOLD = "select zmartd.fold_standings($1)"
_FOLD_NOW = "select zmartd.fold_standings(zmartd.newest_time())"
_PENDING = "select count(*) from standing_changes"
_RANKED = """
select $1::bigint, listed.period, '{ranking}',
       row_number() over (partition by listed.period order by {ranking} desc, user_wallet),
       user_wallet, profit, volume, trades
  from standing_periods as listed
 cross join lateral (select * from standings
                      where standings.period = listed.period {only}
                      order by {ranking} desc, user_wallet limit $2) as chosen
"""
_FILL = "insert into leaderboard (edition, period, ranking, rank, wallet, profit, volume, trades)" + (
    " union all ".join(
        _RANKED.format(ranking=ranking, only="" if ranking == "profit" else "and trades > 0")
        for ranking in ("profit", "volume", "trades")
    )
)


class Edition(Struct, frozen=True):
    """All lists as they were computed at one time."""

    id: int
    as_of: datetime
    """The chain's time at which the periods end."""
    markets_version: int
    """The sum of the versions of all markets, which grows with every change of one."""


class LeaderboardList(Struct, frozen=True):
    """One list of an edition."""

    edition_id: int
    period: Period
    ranking: Ranking


class LeaderboardPageKey(Struct, frozen=True, tag="leaderboard/1"):
    """A page begins after this rank of a list."""

    edition_id: BigInt
    period: Period
    ranking: Ranking
    rank: Annotated[int, Meta(ge=1, le=MOST_RANKS)]


class RankedWallet(Struct, frozen=True):
    """A wallet's rank, and its figures for the period. Amounts are lamports.

    `profit` is what sales, claims and worthless outcomes realized, against the average cost; `volume` is
    purchases with fees and sales before fees.
    """

    rank: int
    wallet: str
    """Shortened for anonymous callers."""
    profit: int
    volume: int
    trades: int


async def edition(connection: Reads, edition_id: int | None = None) -> Edition | None:
    """The edition with this id if it is still kept, otherwise the newest; None before the first."""
    row = None if edition_id is None else await connection.fetchrow(_FIND, edition_id)
    if row is None:
        row = await connection.fetchrow(_NEWEST)
    return None if row is None else Edition(**dict(row))


async def page(
    connection: Reads,
    caller: Caller,
    board: LeaderboardList,
    limit: int,
    after: LeaderboardPageKey | None = None,
) -> CountedPage[RankedWallet, LeaderboardPageKey]:
    """A page of a list of at most 1,000 ranks, from its beginning or after the key `after`.

    Takes a transaction or reader of `caller`.
    """
    rows = await connection.fetch(
        _ENTRIES[caller.role],
        board.edition_id,
        board.period,
        board.ranking,
        0 if after is None else after.rank,
        limit + 1,
    )

    def key_of(entry: RankedWallet) -> LeaderboardPageKey:
        return LeaderboardPageKey(board.edition_id, board.period, board.ranking, entry.rank)

    return counted_page_of(rows, limit, lambda row: RankedWallet(**row), key_of)


async def fold_pending(connection: Connection, most: int) -> int:
    """Add what has come since to the standings, if that is more than so many changes; how many there were.

    Takes a service transaction.
    """
    pending: int = await connection.fetchval(_PENDING)
    if pending <= most:
        return 0
    await connection.execute(_ALLOW_TIME)
    await connection.execute(_FOLD_NOW, timeout=REFRESH_SECONDS)
    return pending


async def publish(connection: Connection, now: datetime, stale_after: timedelta) -> Edition | None:
    """Compute a new edition as of the chain's time `now`. Takes a service transaction.

    None if no market has changed since the newest edition, unless that is older than `stale_after`.
    """
    version = await connection.fetchval(_MARKETS_VERSION)
    newest = await edition(connection)
    if newest is not None and newest.markets_version == version and now - newest.as_of < stale_after:
        return None
    await connection.execute(_ALLOW_TIME)
    edition_id = await connection.fetchval(_OPEN_EDITION, now, version)
    await connection.execute(_FOLD, now, timeout=REFRESH_SECONDS)
    await connection.execute(_FILL, edition_id, MOST_RANKS, timeout=REFRESH_SECONDS)
    await connection.execute(_PURGE, edition_id - EDITIONS_KEPT)
    return Edition(edition_id, now, version)

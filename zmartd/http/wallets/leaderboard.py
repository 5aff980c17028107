"""Who gained most, and who traded most."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from zmartd.http.kit import keys
from zmartd.http.kit.fields import Amount, SignedAmount, Time, amount
from zmartd.http.kit.operation import Call, Operation
from zmartd.http.kit.pagination import (
    Limit,
    NextCursor,
    NextPage,
    PageLength,
    cursor_of,
    foreign_cursor,
    place_of,
)
from zmartd.market.iso_time import iso_time
from zmartd.store import leaderboard
from zmartd.store.keyset import Page
from zmartd.store.leaderboard import LeaderboardList, LeaderboardPageKey, Period, RankedWallet, Ranking


class LeaderboardQuery(Struct, frozen=True, kw_only=True):
    period: Annotated[Period, Meta(description="24h, 7d, 30d or all")] = "all"
    by: Annotated[Ranking, Meta(description="profit, volume or trades")] = "profit"
    limit: Limit = 20
    cursor: NextCursor = None


class LeaderboardEntry(Struct, frozen=True, kw_only=True):
    """A wallet and what it did in the period. Amounts are lamports."""

    rank: int
    """The wallet's place in the whole list, from 1."""
    wallet: Annotated[str, Meta(description="shortened for callers who have not signed in")]
    profit: Annotated[
        SignedAmount, Meta(description="lamports realized by sales, claims and outcomes, at average cost")
    ]
    volume: Annotated[Amount, Meta(description="lamports: purchases with fees and sales before fees")]
    trades: int
    """Trades in the period."""


class LeaderboardBody(Struct, frozen=True, kw_only=True):
    """Some of the first 1,000 wallets of a list that is worked out from time to time.

    All pages that follow from one are of the same edition, for as long as it is kept: four editions long.
    """

    period: Period
    """How far back what is counted goes, as asked for."""
    by: Ranking
    """What wallets are ranked by, as asked for."""
    entries: tuple[LeaderboardEntry, ...]
    """Those of this page, the first rank first."""
    count: PageLength
    as_of: Annotated[
        Time | None,
        Meta(description="the chain's time that the period goes back from; null before the first"),
    ]
    next_cursor: NextPage


async def get_leaderboard(call: Call[LeaderboardQuery]) -> LeaderboardBody:
    """The wallets that gained or traded most in a period. What is not realized yet counts for nobody."""
    query = call.input
    after = place_of(query.cursor, LeaderboardPageKey)
    if after is not None and (after.period, after.ranking) != (query.period, query.by):
        raise foreign_cursor()
    caller = call.caller
    found: Page[RankedWallet, LeaderboardPageKey] = Page((), None)
    async with call.app[keys.DATABASE].caller(caller) as connection:
        edition = await leaderboard.edition(connection, None if after is None else after.edition_id)
        if edition is not None:
            board = LeaderboardList(edition.id, query.period, query.by)
            found = await leaderboard.page(connection, caller, board, query.limit, after)
    return LeaderboardBody(
        period=query.period,
        by=query.by,
        entries=tuple(_entry(one) for one in found.rows),
        count=len(found.rows),
        as_of=None if edition is None else iso_time(edition.as_of),
        next_cursor=cursor_of(found.next_key),
    )


def _entry(entry: RankedWallet) -> LeaderboardEntry:
    return LeaderboardEntry(
        rank=entry.rank,
        wallet=entry.wallet,
        profit=amount(entry.profit),
        volume=amount(entry.volume),
        trades=entry.trades,
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/leaderboard",
        handler=get_leaderboard,
        summary="The wallets that gained or traded most",
        tag="users",
        query=LeaderboardQuery,
        answers={200: LeaderboardBody},
    ),
)

"""The leaderboard: the wallets with the most profit, volume or trades."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from zmartd.http.kit import keys
from zmartd.http.kit.fields import Amount, SignedAmount, Time, amount
from zmartd.http.kit.operation import Access, Call, Operation
from zmartd.http.kit.pagination import (
    Limit,
    NextCursor,
    NextPage,
    PageLength,
    decode_cursor,
    encode_cursor,
    invalid_cursor,
)
from zmartd.market.iso_time import iso_time
from zmartd.store import leaderboard
from zmartd.store.keyset import CountedPage
from zmartd.store.leaderboard import LeaderboardList, LeaderboardPageKey, Period, RankedWallet, Ranking


class LeaderboardQuery(Struct, frozen=True, kw_only=True):
    period: Annotated[Period, Meta(description="24h, 7d, 30d or all")] = "all"
    """The period that counts."""
    by: Annotated[Ranking, Meta(description="profit, volume or trades")] = "profit"
    """What wallets are ranked by."""
    limit: Limit = 20
    cursor: NextCursor = None


class LeaderboardEntry(Struct, frozen=True, kw_only=True):
    """A wallet with its rank, and its trading in the period."""

    rank: int
    """The wallet's rank in the whole list, from 1."""
    wallet: Annotated[str, Meta(description="the wallet's address; shortened for anonymous callers")]
    profit: Annotated[
        SignedAmount,
        Meta(description="lamports realized by sales, claims and outcomes, by the average cost method"),
    ]
    volume: Annotated[Amount, Meta(description="lamports: purchases with fees and sales before fees")]
    trades_count: int
    """The number of trades in the period."""


class LeaderboardBody(Struct, frozen=True, kw_only=True):
    """A page of the first 1,000 wallets of a list that is computed periodically.

    Pages that are reached by `next_cursor` are of the same edition of the list as the first, while it is
    kept: until there are four newer ones.
    """

    period: Period
    """The period that is counted, as requested."""
    by: Ranking
    """What wallets are ranked by, as requested."""
    entries: tuple[LeaderboardEntry, ...]
    """The entries of this page, by rank."""
    count: PageLength
    total: int
    """The number of ranks on all pages."""
    as_of: Annotated[
        Time | None,
        Meta(description="the chain's time at which the period ends; null before the first edition"),
    ]
    next_cursor: NextPage


async def get_leaderboard(call: Call[LeaderboardQuery]) -> LeaderboardBody:
    """The wallets with the most profit, volume or trades in a period. Only realized profit counts."""
    query = call.input
    after = decode_cursor(query.cursor, LeaderboardPageKey)
    if after is not None and (after.period, after.ranking) != (query.period, query.by):
        raise invalid_cursor()
    caller = call.caller
    found: CountedPage[RankedWallet, LeaderboardPageKey] = CountedPage((), None, 0)
    async with call.app[keys.DATABASE].reader(caller) as connection:
        edition = await leaderboard.edition(connection, None if after is None else after.edition_id)
        if edition is not None:
            board = LeaderboardList(edition.id, query.period, query.by)
            found = await leaderboard.page(connection, caller, board, query.limit, after)
    return LeaderboardBody(
        period=query.period,
        by=query.by,
        entries=tuple(_entry(one) for one in found.rows),
        count=len(found.rows),
        total=found.total,
        as_of=None if edition is None else iso_time(edition.as_of),
        next_cursor=encode_cursor(found.next_key),
    )


def _entry(entry: RankedWallet) -> LeaderboardEntry:
    return LeaderboardEntry(
        rank=entry.rank,
        wallet=entry.wallet,
        profit=amount(entry.profit),
        volume=amount(entry.volume),
        trades_count=entry.trades,
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/leaderboard",
        handler=get_leaderboard,
        summary="The wallets with the most profit, volume or trades",
        tag="users",
        access=Access.PUBLIC,
        query=LeaderboardQuery,
        responses={200: LeaderboardBody},
    ),
)

"""Leaderboards against ledgers that replay every trade."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from asyncpg import Connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.store.rows import NOON, insert_market, insert_position, insert_trade, wallet
from tests.ledger import Ledger
from zmartd.market.ids import masked
from zmartd.market.lifecycle import MarketState
from zmartd.store import leaderboard
from zmartd.store.leaderboard import Edition, LeaderboardList, Period, RankedWallet, Ranking
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import ANYBODY, BEGIN_AS_SERVICE, Caller

TRADERS = [wallet(name) for name in ("alice", "bob", "carol")]
ALICE, BOB, CAROL = TRADERS
NOW = NOON
PERIODS: dict[Period, timedelta | None] = {
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "all": None,
}
RANKINGS: tuple[Ranking, ...] = ("profit", "volume", "trades")
STALE_AFTER = timedelta(minutes=5)
Step = tuple[str, str, str, int, int, int]
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.tuples(
        st.sampled_from(TRADERS),
        st.sampled_from(["open", "lost"]),
        st.sampled_from(["buy", "buy", "sell", "sell all"]),
        st.integers(1, 2**40),
        st.integers(0, 2**50),
        st.sampled_from([1, 60, 80_000, 500_000]),
    ),
    max_size=20,
)


async def ranking(connection: Connection, period: Period, by: Ranking) -> list[RankedWallet]:
    newest = await leaderboard.edition(connection)
    assert newest is not None
    board = LeaderboardList(newest.id, period, by)
    return list((await leaderboard.page(connection, Caller(ALICE), board, 100)).rows)


async def publish(connection: Connection, now: datetime) -> Edition:
    """The edition of a moment at which one is due."""
    edition = await leaderboard.publish(connection, now, STALE_AFTER)
    assert edition is not None
    return edition


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_the_lists_are_what_a_replay_of_all_trades_gives(database: Database, steps: list[Step]) -> None:
    books: dict[Any, Ledger] = defaultdict(Ledger)
    deeds: list[tuple[str, datetime, int, int, int]] = []
    at = NOW - timedelta(seconds=sum(step[5] for step in steps))
    async with database.service() as connection:
        markets = {
            "open": await insert_market(connection, "open"),
            "lost": await insert_market(
                connection, "lost", MarketState.FINALIZED, final_outcome=False, finalized_at=NOW
            ),
        }
        for slot, (trader, market, kind, size, cost, pause) in enumerate(steps):
            at += timedelta(seconds=pause)
            book = books[trader, market]
            buys = kind == "buy" or not book.shares
            realized, shares = 0, size
            if buys:
                book.buy(shares, cost)
            else:
                shares = book.shares if kind == "sell all" else 1 + (size - 1) % book.shares
                realized = book.sell(shares, cost)
            deeds.append((trader, at, realized, cost if buys else cost + 7, 1))
            await insert_trade(
                connection,
                str(slot),
                markets[market],
                trader,
                trade_type="buy" if buys else "sell",
                shares=shares,
                cost=cost,
                amount=cost if buys else cost + 7,
                slot=slot,
                block_time=at,
            )
        for (trader, market), book in books.items():
            await insert_position(
                connection,
                markets[market],
                trader,
                shares_yes=book.shares,
                total_invested=book.invested,
                total_returned=book.returned,
            )
            if market == "lost":
                deeds.append((trader, NOW, -book.cost, 0, 0))
        assert await leaderboard.publish(connection, NOW, STALE_AFTER) is not None
        for period, length in PERIODS.items():
            sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
            for trader, when, *amounts in deeds:
                if length is None or when >= NOW - length:
                    sums[trader] = [had + more for had, more in zip(sums[trader], amounts, strict=True)]
            for position, by in enumerate(RANKINGS):
                ranked = sorted(
                    (one for one in sums.items() if by == "profit" or one[1][2]),
                    key=lambda item: (-item[1][position], item[0]),
                )
                assert await ranking(connection, period, by) == [
                    RankedWallet(rank, trader, *amounts) for rank, (trader, amounts) in enumerate(ranked, 1)
                ]
        await connection.execute(f"rollback; {BEGIN_AS_SERVICE}")


async def test_a_claim_realizes_what_it_pays_above_the_cost(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m", MarketState.FINALIZED, final_outcome=True)
        await insert_trade(connection, "1", market, ALICE, shares=100, cost=1_000, block_time=NOW)
        await insert_position(
            connection,
            market,
            ALICE,
            shares_yes=100,
            has_claimed=True,
            claimed_amount=1_700,
            claimed_at=NOW - timedelta(days=3),
        )
        # Not claimed yet: nothing is realized.
        await insert_trade(connection, "2", market, BOB, shares=100, cost=1_000, block_time=NOW)
        await insert_position(connection, market, BOB, shares_yes=100)
        await leaderboard.publish(connection, NOW, STALE_AFTER)

        assert [(one.wallet, one.profit) for one in await ranking(connection, "7d", "profit")] == [
            (ALICE, 700),
            (BOB, 0),
        ]
        assert {one.profit for one in await ranking(connection, "24h", "profit")} == {0}


async def test_a_market_without_outcome_takes_from_nobody_who_has_not_claimed(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m", MarketState.FINALIZED, finalized_at=NOW)
        await insert_trade(connection, "1", market, ALICE, shares=100, cost=1_000)
        await insert_position(connection, market, ALICE, shares_yes=100, total_invested=1_000)
        await insert_trade(connection, "2", market, BOB, shares=100, cost=1_000)
        await insert_position(
            connection, market, BOB, shares_yes=100, total_invested=1_000, total_returned=1_500
        )
        await leaderboard.publish(connection, NOW, STALE_AFTER)

        assert [(one.wallet, one.profit) for one in await ranking(connection, "all", "profit")] == [
            (ALICE, 0),
            (BOB, -1_000),
        ]


async def test_an_edition_is_published_only_when_something_changed_or_time_has_passed(
    database: Database,
) -> None:
    async with database.service() as connection:
        assert await leaderboard.edition(connection) is None
        first = await publish(connection, NOW)
        assert await leaderboard.publish(connection, NOW + timedelta(minutes=1), STALE_AFTER) is None
        await insert_market(connection, "m", version=1)
        second = await publish(connection, NOW + timedelta(minutes=1))
        third = await publish(connection, NOW + timedelta(minutes=6))

        assert [one.id for one in (second, third)] == [first.id + 1, first.id + 2]
        assert await leaderboard.edition(connection) == third
        assert await leaderboard.edition(connection, first.id) == first


async def test_a_few_editions_are_kept_for_who_is_still_reading(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        await insert_trade(connection, "1", market, ALICE)
        ids = [
            (await publish(connection, NOW + timedelta(minutes=minutes))).id for minutes in range(0, 60, 10)
        ]

        kept = await connection.fetch("select distinct edition from leaderboard order by edition")
        assert [row["edition"] for row in kept] == ids[-leaderboard.EDITIONS_KEPT :]
        given = await leaderboard.edition(connection, ids[0])
        assert given is not None
        assert given.id == ids[-1]


async def test_anonymous_callers_see_wallets_shortened(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m")
        await insert_trade(connection, "1", market, CAROL)
        edition = await publish(connection, NOW)

    for caller, shown in ((ANYBODY, masked(CAROL)), (Caller(BOB), CAROL)):
        async with database.caller(caller) as connection:
            board = LeaderboardList(edition.id, "all", "trades")
            (entry,) = (await leaderboard.page(connection, caller, board, 10)).rows
        assert entry.wallet == shown

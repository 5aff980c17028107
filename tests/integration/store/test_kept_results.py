"""Kept candles, lots, results and standings, against what trades and positions come to, after any history."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest
from asyncpg import Connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from tests.integration.store.rows import NOON, insert_market, insert_trades, signature, trade_row, wallet
from zmartd.indexer.audit.kept_sums import KeptDifference, differences_of, standing_differences
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import BEGIN_AS_SERVICE

WALLETS = [wallet(name) for name in ("alice", "bob", "carol")]
MARKETS = ("m", "n")
PAUSES = (0, 1, 299, 3_600, 90_000, 900_000)


class Written(Struct, frozen=True):
    """A trade is written; slots often repeat, and places in blocks may be unknown."""

    market: int
    trader: int
    outcome: bool
    buys: bool
    shares: int
    cost: int
    slot: int
    in_block: int | None


class Gone(Struct, frozen=True):
    """Every trade from this one on, up to so many, is deleted."""

    first: int
    number: int


class Changed(Struct, frozen=True):
    """A trade becomes another one, or only gets another amount."""

    which: int
    shares: int
    cost: int
    slot: int
    only_amount: bool


class Renumbered(Struct, frozen=True):
    """A trade gets a new id, as when its market was rebuilt."""

    which: int


class Held(Struct, frozen=True):
    """A position says so many shares, and is claimed or not."""

    market: int
    trader: int
    shares_yes: int
    shares_no: int
    claimed: int | None


class Dropped(Struct, frozen=True):
    """A position is deleted."""

    market: int
    trader: int


class Decided(Struct, frozen=True):
    """A market becomes final, or is active again."""

    market: int
    final: bool
    outcome: bool | None
    at: int


class Folded(Struct, frozen=True):
    """The standings are brought up to a time, which can be before the last one."""

    at: int


Step = Written | Gone | Changed | Renumbered | Held | Dropped | Decided | Folded
NUMBERS, AMOUNTS, SLOTS = st.integers(0, 30), st.integers(0, 2**50), st.integers(0, 12)
MARKET, TRADER = st.integers(0, 1), st.integers(0, 2)
SHARES = st.integers(1, 2**30)
WRITTEN = st.builds(
    Written,
    MARKET,
    TRADER,
    st.booleans(),
    st.booleans(),
    SHARES,
    AMOUNTS,
    SLOTS,
    st.none() | st.integers(0, 2),
)
STEPS = st.lists(
    st.lists(WRITTEN, min_size=1, max_size=6)
    | st.one_of(
        st.builds(Gone, NUMBERS, st.integers(1, 5)),
        st.builds(Changed, NUMBERS, SHARES, AMOUNTS, SLOTS, st.booleans()),
        st.builds(Renumbered, NUMBERS),
        st.builds(
            Held,
            MARKET,
            TRADER,
            st.integers(-5, 2**30),
            st.integers(-5, 2**30),
            st.none() | st.integers(0, 2**50),
        ),
        st.builds(Dropped, MARKET, TRADER),
        st.builds(Decided, MARKET, st.booleans(), st.none() | st.booleans(), SLOTS),
        st.builds(Folded, SLOTS),
    ).map(lambda one: [one]),
    min_size=1,
    max_size=14,
)


def moment(slot: int) -> datetime:
    return NOON + timedelta(seconds=sum(PAUSES[: slot % len(PAUSES)]) + slot * 60)


async def differences(connection: Connection, markets: list[str]) -> list[KeptDifference]:
    of_markets = [one for market in markets for one in await differences_of(connection, market)]
    return [*of_markets, *await standing_differences(connection)]


class History:
    """Does steps to a database, each statement as the indexer would send it."""

    def __init__(self, connection: Connection, markets: list[str]) -> None:
        self._connection = connection
        self._markets = markets
        self._names = 0

    async def write(self, trades: list[Written]) -> None:
        rows = [
            trade_row(
                str(self._names + place),
                self._markets[trade.market],
                WALLETS[trade.trader],
                trade_type="buy" if trade.buys else "sell",
                outcome=trade.outcome,
                shares=trade.shares,
                cost=trade.cost,
                amount=trade.cost // 2,
                price_after=Decimal(trade.cost % 10**9) / 10**9,
                slot=trade.slot,
                index_in_block=trade.in_block,
                block_time=moment(trade.slot),
            )
            for place, trade in enumerate(trades, 1)
        ]
        self._names += len(rows)
        await insert_trades(self._connection, rows)

    async def do(self, step: Step) -> None:
        execute = self._connection.execute
        match step:
            case Gone():
                names = range(step.first, step.first + step.number)
                await execute(
                    "delete from trades where tx_signature = any($1::text[])",
                    [signature(str(name)) for name in names],
                )
            case Changed(only_amount=True):
                await execute(
                    "update trades set amount = $2 where tx_signature = $1",
                    signature(str(step.which)),
                    step.cost,
                )
            case Changed():
                await execute(
                    "update trades set shares = $2, cost = $3, slot = $4, block_time = $5 "
                    "where tx_signature = $1",
                    signature(str(step.which)),
                    step.shares,
                    step.cost,
                    step.slot,
                    moment(step.slot),
                )
            case Renumbered():
                await execute(
                    "update trades set id = nextval(pg_get_serial_sequence('trades', 'id')) "
                    "where tx_signature = $1",
                    signature(str(step.which)),
                )
            case Held():
                await execute(
                    """
                    insert into user_positions (market_id, user_wallet, shares_yes, shares_no, has_claimed,
                                                claimed_amount, claimed_at)
                    values ($1, $2, $3, $4, $5, $6, $7)
                    on conflict (market_id, user_wallet) do update
                       set shares_yes = $3, shares_no = $4, has_claimed = $5, claimed_amount = $6,
                           claimed_at = $7
                    """,
                    self._markets[step.market],
                    WALLETS[step.trader],
                    step.shares_yes,
                    step.shares_no,
                    step.claimed is not None,
                    step.claimed or 0,
                    moment(step.claimed % 13) if step.claimed is not None and step.claimed % 2 else None,
                )
            case Dropped():
                await execute(
                    "delete from user_positions where market_id = $1 and user_wallet = $2",
                    self._markets[step.market],
                    WALLETS[step.trader],
                )
            case Decided():
                await execute(
                    "update markets set state = $2, final_outcome = $3, finalized_at = $4 where id = $1",
                    self._markets[step.market],
                    "FINALIZED" if step.final else "ACTIVE",
                    step.outcome if step.final else None,
                    moment(step.at) if step.final else None,
                )
            case Folded():
                await execute("select zmartd.fold_standings($1)", moment(step.at) + timedelta(days=1))


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(steps=STEPS, last=SLOTS)
async def test_what_is_kept_is_what_trades_and_positions_come_to(
    database: Database, steps: list[list[Step]], last: int
) -> None:
    async with database.service() as connection:
        markets = [await insert_market(connection, name) for name in MARKETS]
        history = History(connection, markets)
        for step in steps:
            if isinstance(step[0], Written):
                await history.write(step)  # type: ignore[arg-type]
            else:
                await history.do(step[0])
            assert await differences(connection, markets) == []
        await history.do(Folded(last))
        assert await differences(connection, markets) == []
        assert await connection.fetchval("select count(*) from standing_changes") == 0
        await connection.execute(f"rollback; {BEGIN_AS_SERVICE}")


CALLS = """
select coalesce(sum(calls), 0) from pg_stat_xact_user_functions
 where schemaname = 'zmartd' and funcname = 'settle_trades'
"""


@pytest.mark.parametrize(("slots", "calls"), [([2, 3], 0), ([2, 2], 1), ([2, 1], 1), ([2, (3, 4)], 1)])
async def test_trades_are_gone_through_again_only_where_one_is_not_the_newest(
    database_url: str, slots: list[int | tuple[int, ...]], calls: int
) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("set track_functions = 'pl'; begin")
        market = await insert_market(connection, "m")
        for position, slot in enumerate(slots):
            together = slot if isinstance(slot, tuple) else (slot,)
            rows = [trade_row(f"{position} {one}", market, WALLETS[0], slot=one) for one in together]
            await insert_trades(connection, rows)
        assert await connection.fetchval(CALLS) == calls
        assert await differences(connection, [market]) == []
    finally:
        await connection.close()

"""Candles against the same thing said in plain Python."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby

from asyncpg import Connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from tests.integration.store.rows import insert_market, insert_trade, signature, wallet
from zmartd.market.lmsr import SCALE
from zmartd.store import candles
from zmartd.store.candles import Candle
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import BEGIN_AS_SERVICE

EPOCH = datetime.fromtimestamp(0, UTC)
BEGIN = datetime(2026, 1, 1, 12, 0, 7, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Traded(Struct, frozen=True):
    """A trade `seconds` after the market began, in the slot that goes with the time."""

    seconds: int
    index_in_block: int | None
    price: int
    is_buy: bool
    volume: int


def reference(
    trades: list[Traded], period: timedelta, since: datetime, until: datetime
) -> tuple[Candle, ...]:
    """Walk from period to period; whoever has no trades takes over the price."""
    row_ids = {id(trade): number for number, trade in enumerate(trades)}

    def place(trade: Traded) -> tuple[int, int, int]:
        index = -1 if trade.index_in_block is None else trade.index_in_block
        return trade.seconds, index, row_ids[id(trade)]

    in_order = sorted(trades, key=place)
    start = max(since, BEGIN)
    start -= (start - EPOCH) % period
    price = SCALE // 2
    for trade in in_order:
        if BEGIN + timedelta(seconds=trade.seconds) < start:
            price = trade.price
    by_period = {
        number: list(group)
        for number, group in groupby(
            in_order, lambda trade: (BEGIN + timedelta(seconds=trade.seconds) - EPOCH) // period
        )
    }
    found = []
    while start < until:
        inside = [
            trade
            for trade in by_period.get((start - EPOCH) // period, [])
            if BEGIN + timedelta(seconds=trade.seconds) < until
        ]
        prices = [trade.price for trade in inside] or [price]
        volume = sum(trade.volume for trade in inside)
        found.append(Candle(start, prices[0], max(prices), min(prices), prices[-1], volume, len(inside)))
        price = prices[-1]
        start += period
    return tuple(found)


TRADES = st.lists(
    st.builds(
        Traded,
        seconds=st.one_of(st.integers(0, 600), st.sampled_from([53, 113, 173])),
        index_in_block=st.one_of(st.none(), st.integers(0, 2)),
        price=st.integers(0, SCALE),
        is_buy=st.booleans(),
        volume=st.integers(0, 2**64 - 1),
    ),
    max_size=12,
)
SECONDS = st.integers(-200, 800)


async def record(connection: Connection, market: str, name: str, trade: Traded) -> None:
    sums = {"cost": trade.volume, "amount": 1} if trade.is_buy else {"cost": 1, "amount": trade.volume}
    await insert_trade(
        connection,
        name,
        market,
        wallet("trader"),
        trade_type="buy" if trade.is_buy else "sell",
        price_after=Decimal(trade.price) / SCALE,
        slot=trade.seconds,
        index_in_block=trade.index_in_block,
        block_time=BEGIN + timedelta(seconds=trade.seconds),
        **sums,
    )


async def change(connection: Connection, name: str, trade: Traded) -> None:
    """Make a trade that is recorded this one."""
    bought, sold = (trade.volume, 1) if trade.is_buy else (1, trade.volume)
    await connection.execute(
        """
        update trades set trade_type = $2, price_after = $3, slot = $4, index_in_block = $5, block_time = $6,
                          cost = $7, amount = $8
         where tx_signature = $1
        """,
        signature(name),
        "buy" if trade.is_buy else "sell",
        Decimal(trade.price) / SCALE,
        trade.seconds,
        trade.index_in_block,
        BEGIN + timedelta(seconds=trade.seconds),
        bought,
        sold,
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    trades=TRADES,
    before=TRADES,
    since=SECONDS,
    length=st.integers(1, 900),
    minutes=st.sampled_from([1, 5, 60, 240, 1440]),
)
async def test_candles_are_what_the_trades_say_one_after_the_other(
    database: Database, trades: list[Traded], before: list[Traded], since: int, length: int, minutes: int
) -> None:
    """Some of the trades were others first, and some that were recorded are gone."""
    first, period = BEGIN + timedelta(seconds=since), minutes * MINUTE
    until = first + timedelta(seconds=length)
    async with database.service() as connection:
        market = await insert_market(connection, "m", created_at=BEGIN)
        other = await insert_market(connection, "other", created_at=BEGIN)
        for number, trade in enumerate(trades):
            await record(connection, market, f"t{number}", before[number] if number < len(before) else trade)
        for number, gone in enumerate(before):
            if number < len(trades):
                await change(connection, f"t{number}", trades[number])
            else:
                await record(connection, market, f"t{number}", gone)
        await connection.execute(
            "delete from trades where tx_signature = any($1::text[])",
            [signature(f"t{number}") for number in range(len(trades), len(before))],
        )
        await record(connection, other, "other", Traded(30, None, 1, True, 1))
        found = await candles.of_yes(connection, market, period, first, until)
        await connection.execute(f"rollback; {BEGIN_AS_SERVICE}")
    assert found == reference(trades, period, first, until)


async def test_there_are_no_candles_that_have_not_begun(database: Database) -> None:
    now = datetime.now(UTC)
    async with database.service() as connection:
        market = await insert_market(connection, "m", created_at=now - 3 * MINUTE)
        found = await candles.of_yes(connection, market, MINUTE, now - 60 * MINUTE, now + 60 * MINUTE)
    assert len(found) in {4, 5}
    assert found[-1].start <= datetime.now(UTC)


async def test_trades_from_before_a_creation_that_is_not_known_have_their_candles(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m", created_at=BEGIN + 60 * MINUTE)
        await record(connection, market, "t", Traded(0, None, SCALE // 4, True, 7))
        found = await candles.of_yes(connection, market, MINUTE, BEGIN - 9 * MINUTE, BEGIN + 2 * MINUTE)
    assert [(one.close, one.trades) for one in found] == [
        (SCALE // 4, 1),
        (SCALE // 4, 0),
        (SCALE // 4, 0),
    ]


def test_what_is_the_high_of_one_outcome_is_the_low_of_the_other() -> None:
    candle = Candle(BEGIN, open=1, high=9, low=0, close=3, volume_lamports=5, trades=2)
    no = candle.of_no()
    assert (no.open, no.high, no.low, no.close) == (SCALE - 1, SCALE, SCALE - 9, SCALE - 3)
    assert (no.start, no.volume_lamports, no.trades) == (BEGIN, 5, 2)
    assert no.of_no() == candle


async def test_what_was_traded_at_the_end_of_the_span_is_after_it(database: Database) -> None:
    async with database.service() as connection:
        market = await insert_market(connection, "m", created_at=BEGIN)
        for seconds in (9, 10):
            await record(connection, market, f"t{seconds}", Traded(seconds, None, SCALE // 4, True, 1))
        until = BEGIN + timedelta(seconds=10)
        (candle,) = await candles.of_yes(connection, market, MINUTE, BEGIN, until)
    assert candle.trades == 1

"""Trades that come late, and what is priced anew because of them: few rows at a time, the same in the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from asyncpg import Connection
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.integration.indexer.story import PROGRAM, Story
from tests.integration.indexer.test_apply import differences, forget, projection
from tests.statements import execute
from zmartd import faults
from zmartd.chain.pdas import Pdas
from zmartd.chain.transactions import ChainTransaction
from zmartd.faults import Point
from zmartd.indexer.apply import Indexer
from zmartd.indexer.effects import trades
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.rebuild import repricing
from zmartd.realtime.messages import AnyMessage, MarketUpdate, Message
from zmartd.realtime.publisher import M, NoPublisher
from zmartd.store.postgres.database import Database

ROWS_READ = """
select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) from pg_stat_xact_user_tables
"""


class Died(Exception):
    """Stands for the death of a daemon."""


class Recorder(NoPublisher):
    """Notes the messages of each transaction, and how many rows it has read."""

    def __init__(self) -> None:
        self.messages: list[AnyMessage] = []
        self.rows_read = 0

    async def append(self, connection: Connection, messages: Sequence[M]) -> list[M]:
        self.rows_read = int(await connection.fetchval(ROWS_READ))
        # Otherwise those of the next transaction would be added.
        await connection.execute("select pg_stat_force_next_flush()")
        self.messages += messages
        return await super().append(connection, messages)


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch, 3)


def at_once(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    for module in (trades, repricing):
        monkeypatch.setattr(module, "MOST_REPRICED", most)


def two_markets(seed: int) -> list[ChainTransaction]:
    """Two markets that trade under changing fees, which they share, in the order of the chain."""
    stories = [Story(seed), Story(seed + 1, slot=900)]
    for story in stories:
        story.create()
        story.open_for_trading()
        story.trade(12)
    stories[0].change_fees(100, 50, 25)
    for story in stories:
        story.slot = max(one.slot for one in stories)
        story.rates = (100, 50, 25)
        story.trade(12)
    return sorted((tx for story in stories for tx in story.transactions), key=lambda tx: tx.slot)


async def without_arrival(database: Database) -> dict[str, list[dict[str, object]]]:
    """The projection without what depends on when an event was told of last: `index_in_block`, and the time
    of a market whose creation is missing.
    """
    rows = await projection(database)
    for market in rows["markets"]:
        market["created_at"] = market["created_at"] if market["chain_confirmed"] else None
    return {
        table: [{name: it for name, it in row.items() if name != "index_in_block"} for row in of_table]
        for table, of_table in rows.items()
    }


@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # what a seed decides gets no simpler
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), lacking=st.floats(0, 0.4), deaths=st.floats(0, 0.2))
async def test_late_and_missing_trades_lead_to_what_a_replay_in_order_gives(
    few_at_once: None, database: Database, seed: int, lacking: float, deaths: float
) -> None:
    """Whatever comes when, whatever never comes, and wherever daemons die, of which two work at once."""
    rng = random.Random(seed)
    indexer, other = (Indexer(database, NoPublisher(), Pdas(PROGRAM)) for _ in range(2))
    everything = [tx for tx in two_markets(rng.randrange(1000)) if rng.random() >= lacking]
    await forget(database)
    for tx in everything:
        await indexer.apply([tx])
        await indexer.reprice_everything()
    in_order = await without_arrival(database)
    await forget(database)

    async def die(point: Point) -> None:
        if rng.random() < deaths:
            raise Died(point)

    left = deliveries(everything, rng)
    with faults.watching(die):
        while left:
            steps = [indexer.apply(left[0])] + [other.reprice() for _ in range(rng.randint(0, 2))]
            done = await asyncio.gather(*steps, return_exceptions=True)
            assert all(isinstance(one, Died) for one in done if isinstance(one, BaseException)), done
            if not isinstance(done[0], BaseException):
                left = left[1:]
    await asyncio.gather(indexer.reprice_everything(), other.reprice_everything())
    assert differences(in_order, await without_arrival(database)) == []


def deliveries(transactions: Sequence[ChainTransaction], rng: random.Random) -> list[list[ChainTransaction]]:
    """In any order, in batches, some twice, some of these with their place in the block."""
    again = [
        replace(tx, index_in_block=place) if rng.random() < 0.5 else tx
        for place, tx in enumerate(transactions)
        if rng.random() < 0.3
    ]
    shuffled = [*transactions, *again]
    rng.shuffle(shuffled)
    batches = []
    while shuffled:
        size = rng.randint(1, 5)
        batches.append(list({tx.signature: tx for tx in shuffled[:size]}.values()))
        shuffled = shuffled[size:]
    return batches


async def test_an_apply_reads_as_much_whatever_follows_a_trade_that_is_missing(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next trades, the late one, and each step in the background."""
    at_once(monkeypatch, 20)
    recorder = Recorder()
    indexer = Indexer(database, recorder, Pdas(PROGRAM))
    most = {}
    for number, following in enumerate((100, 2_000)):
        await forget(database)
        story = traded(seed=number, count=following + 20)
        first, late, rest = story.transactions[:12], story.transactions[12], story.transactions[13:]
        await indexer.apply(first)
        for start in range(0, len(rest) - 10, 1_000):
            await indexer.apply(rest[start : min(start + 1_000, len(rest) - 10)])
        # Nothing of a plan for a table that was empty a moment ago.
        await execute(database_url, "analyze")
        assert await inexact(database) > following / 2
        await indexer.apply([rest[-10]])  # also noted is what its connection has read before
        read = []
        for tx in (*rest[-9:], late):
            await indexer.apply([tx])
            read.append(recorder.rows_read)
        for _ in range(10):
            assert await indexer.reprice() == 1
            read.append(recorder.rows_read)
        most[following] = max(read)
    few, many = most.values()
    assert many <= few * 2, most


async def test_a_trade_on_top_of_inexact_ones_waits_for_none_of_them(
    few_at_once: None, database: Database
) -> None:
    story = traded(seed=5, count=40)
    indexer = Indexer(database, NoPublisher(), Pdas(PROGRAM))
    first, late, rest = story.transactions[:12], story.transactions[12], story.transactions[13:]
    await indexer.apply(first + rest[:-1])
    before = await inexact(database)
    assert before >= 20
    await indexer.apply(rest[-1:])
    assert (await inexact(database), await due(database)) == (before + 1, 0)
    await indexer.apply([late])
    assert await due(database) == 1
    await indexer.reprice_everything()
    assert (await inexact(database), await due(database)) == (0, 0)


async def test_subscribers_are_told_of_totals_that_change_in_the_background(
    few_at_once: None, database: Database
) -> None:
    recorder = Recorder()
    story = traded(seed=7, count=30)
    indexer = Indexer(database, recorder, Pdas(PROGRAM))
    await indexer.apply(story.transactions[:12] + story.transactions[13:])
    await indexer.apply([story.transactions[12]])
    recorder.messages.clear()
    await indexer.reprice_everything()
    *_, last = (one for one in recorder.messages if isinstance(one, Message))
    async with database.service() as connection:
        (row,) = await connection.fetch("select version, total_volume from markets")
    assert isinstance(last.data, MarketUpdate)
    assert row["total_volume"] == last.data.total_volume_lamports == story.volume


async def test_what_a_daemon_of_an_earlier_release_changes_meanwhile_is_found_in_the_end(
    few_at_once: None, database: Database
) -> None:
    story = traded(seed=9, count=40)
    indexer = Indexer(database, NoPublisher(), Pdas(PROGRAM))
    await indexer.apply(story.transactions[:12] + story.transactions[13:])
    await indexer.apply([story.transactions[12]])
    for _ in range(4):
        await indexer.reprice()
    async with database.service() as connection:
        await connection.execute("update markets set reprice_shares_yes = reprice_shares_yes + 1e9")
    await indexer.reprice_everything()
    assert (await inexact(database), await due(database)) == (0, 0)


async def test_a_slot_whose_order_is_told_later_is_priced_anew(few_at_once: None, database: Database) -> None:
    """Nobody looks for the order of a slot with many trades for ever; their places say it."""
    story = Story(3)
    story.create()
    story.open_for_trading()
    for _ in range(11):
        story.tell(story._buy(), slots=0)
    unplaced, placed = story.transactions, list(story.transactions)
    for index, tx in enumerate(placed):
        placed[index] = replace(tx, index_in_block=index)
    indexer = Indexer(database, NoPublisher(), Pdas(PROGRAM))
    await indexer.apply(unplaced)
    async with database.service() as connection:
        await connection.execute("update trades set exact = false, amount = amount + 1")
    await indexer.promote([TransactionInSlot(tx.slot, tx.signature) for tx in placed], placed)
    await indexer.reprice_everything()
    assert await inexact(database) == 0


def traded(seed: int, count: int) -> Story:
    """A market with a trade in two minutes by one of many wallets; the thirteenth transaction is one."""
    story = Story(seed)
    story.create()
    story.open_for_trading()
    story.traders += [story.wallet() for _ in range(200)]
    for _ in range(count):
        sold = None if story.random.random() < 0.6 else story._sell()
        story.tell(sold or story._buy(), slots=120)
    return story


async def inexact(database: Database) -> int:
    async with database.service() as connection:
        return int(await connection.fetchval("select count(*) from trades where not exact"))


async def due(database: Database) -> int:
    async with database.service() as connection:
        return int(await connection.fetchval("select count(*) from markets where reprice_from is not null"))

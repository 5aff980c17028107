"""Markets that were corrected from their accounts: what the accounts held, and what came after."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace
from redis.asyncio import Redis

from tests.integration.indexer.story import GENESIS_TIME, PROGRAM, Story
from tests.integration.indexer.test_apply import differences, forget, projection
from tests.integration.indexer.test_rollback import fetch
from zmartd.chain.events import ConfigUpdated, MarketResolved, SharesBought
from zmartd.chain.pdas import Pdas
from zmartd.chain.transactions import ChainTransaction, EventRecord
from zmartd.clock import SystemClock
from zmartd.indexer.apply import Indexer
from zmartd.indexer.audit.audit import read_one_market
from zmartd.indexer.audit.comparison import Difference, ProgramFacts, compare
from zmartd.indexer.effects.configuration import ConfigurationCorrection
from zmartd.indexer.effects.facts import ConfigurationFacts
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.rebuild.corrections import Correction
from zmartd.indexer.rebuild.event_diff import EventDiff
from zmartd.market.iso_time import utc_from_unix
from zmartd.realtime.bus import Bus
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store.postgres.database import Database


@pytest.fixture
async def indexer(database: Database, redis_url: str) -> AsyncIterator[Indexer]:
    redis = Redis.from_url(redis_url)
    yield Indexer(database, StreamPublisher(Bus(redis, SystemClock())), Pdas(PROGRAM))
    await redis.aclose()


class Told(Struct):
    """A market's life with two slots whose accounts are read, and what its accounts hold in the end."""

    story: Story
    corrections: tuple[Correction, Correction]
    end: ProgramFacts
    unread: tuple[ChainTransaction, ...]
    """Transactions up to the second of the slots, some of them up to the first."""

    @property
    def read(self) -> list[ChainTransaction]:
        return [tx for tx in self.story.transactions if tx not in self.unread]


def has(kind: type) -> Callable[[ChainTransaction], bool]:
    return lambda transaction: any(isinstance(record.event, kind) for record in transaction.events)


async def accounts(indexer: Indexer, database: Database, story: Story) -> ProgramFacts:
    """What the accounts hold after a story, by its own numbers: the index of all of it."""
    await indexer.apply(story.transactions)
    facts = (await read_one_market(database, story.market)).facts
    market = facts.markets[str(story.market)]
    assert (market.total_volume, market.accumulated_protocol_fees) == (story.volume, story.fees[0])
    return facts


def correction(story: Story, held: ProgramFacts, slot: int) -> Correction:
    positions = {wallet: facts for (_, wallet), facts in held.positions.items()}
    market = held.markets[str(story.market)]
    return Correction(story.market_id.hex(), slot, market, positions, utc_from_unix(GENESIS_TIME + slot))


async def told(indexer: Indexer, database: Database, seed: int) -> Told:
    story = Story(seed)
    story.create()
    story.open_for_trading()
    story.trade(2)
    story.change_fees(100, 50, 25)
    story.trade(4)
    first = correction(story, await accounts(indexer, database, story), story.slot)
    until_first = len(story.transactions)
    story.slot += 1
    story.trade(3)
    second = correction(story, await accounts(indexer, database, story), story.slot)
    until_second = len(story.transactions)
    story.slot += 1
    story.change_fees(400, 300, 200)
    story.trade(2)
    story.resolve(False)
    story.dispute()
    story.finalize(True, disputed=True)
    story.claim(True)
    story.withdraw()
    end = await accounts(indexer, database, story)
    await start_anew(database)
    early = [tx for tx in story.transactions[:until_first] if has(SharesBought)(tx)]
    later = [tx for tx in story.transactions[until_first:until_second] if tx.events]
    return Told(story, (first, second), end, (*story.random.sample(early, 2), later[0]))


async def start_anew(database: Database) -> None:
    async with database.service() as connection:
        await connection.execute("delete from market_corrections")
    await forget(database)


async def different(database: Database, told: Told) -> tuple[Difference, ...]:
    return compare((await read_one_market(database, told.story.market)).facts, told.end)


@pytest.mark.parametrize("seed", range(2))
async def test_in_any_order_corrections_and_events_lead_to_what_the_accounts_hold(
    indexer: Indexer, database: Database, seed: int
) -> None:
    """Events from before and after the corrections, changes of fees that reprice others, and repetitions."""
    life = await told(indexer, database, seed)
    address = life.story.market

    def apply(transaction: ChainTransaction) -> Callable[[], Awaitable[Any]]:
        return lambda: indexer.apply([transaction])

    def correct(made: Correction) -> Callable[[], Awaitable[Any]]:
        return lambda: indexer.correct(made, address)

    rng = random.Random(seed)
    steps = [*map(apply, life.read), *map(correct, life.corrections)]
    steps += rng.sample(steps, len(steps) // 4)
    results = []
    for _ in range(2):
        rng.shuffle(steps)
        for step in steps:
            await step()
        assert await different(database, life) == ()
        results.append(await projection(database) | await stored(database))
        await start_anew(database)
    assert differences(*results) == []


async def stored(database: Database) -> dict[str, list[dict[str, Any]]]:
    async with database.service() as connection:
        return {
            "market_corrections": [dict(row) for row in await connection.fetch("table market_corrections")]
        }


async def test_other_fees_change_single_trades_and_not_what_the_accounts_held(
    indexer: Indexer, database: Database
) -> None:
    life = await told(indexer, database, seed=11)
    late = [tx for tx in life.read if has(ConfigUpdated)(tx)]
    await indexer.apply([tx for tx in life.read if tx not in late])
    await indexer.correct(life.corrections[1], life.story.market)
    assert await different(database, life) != ()
    for transaction in reversed(late):
        await indexer.apply([transaction])
    assert await different(database, life) == ()


async def test_a_correction_ends_once_the_events_say_what_it_holds(
    indexer: Indexer, database: Database
) -> None:
    life = await told(indexer, database, seed=12)
    await indexer.apply(life.read)
    await indexer.correct(life.corrections[1], life.story.market)
    for transaction in life.unread:
        assert await corrected(database) == [life.story.market_id.hex()]
        await indexer.apply([transaction])
    assert await corrected(database) == []
    assert await different(database, life) == ()
    async with database.service() as connection:
        assert await connection.fetchval("select count(*) from trades where not exact") == 0


async def corrected(database: Database) -> list[str]:
    async with database.service() as connection:
        rows = await connection.fetch("select id from markets where corrected_slot is not null")
        kept = await connection.fetch("select market_id from market_corrections")
    assert [row["id"] for row in rows] == [row["market_id"] for row in kept]
    return [row["id"] for row in rows]


async def test_trades_after_a_correction_are_priced_to_the_unit(indexer: Indexer, database: Database) -> None:
    life = await told(indexer, database, seed=14)
    second = life.corrections[1]
    await indexer.correct(second, life.story.market)
    for transaction in reversed(life.read):
        await indexer.apply([transaction], "finalized")
    async with database.service() as connection:
        inexact = "select count(*) from trades where not exact and slot {} $1"
        assert await connection.fetchval(inexact.format(">"), second.slot) == 0
        assert await connection.fetchval(inexact.format("<="), second.slot) > 0
        assert await connection.fetchval("select count(*) from trades where commitment = 'confirmed'") == 0


async def test_a_correction_ends_with_an_event_before_it_and_with_no_later_one(
    indexer: Indexer, database: Database
) -> None:
    story = Story(9)
    story.create()
    story.open_for_trading()
    story.tell(story._buy())
    early = story.transactions[-1]
    truth = correction(story, await accounts(indexer, database, story), story.slot)
    volume = story.volume + 7
    made = replace(truth, market=replace(truth.market, total_volume=volume))
    story.slot += 1
    for _ in range(2):
        story.tell(story._buy())
    late, latest = story.transactions[-2:]
    await indexer.apply(story.transactions)
    await indexer.correct(made, story.market)
    async with database.service() as connection:
        await connection.execute(
            "insert into truncated_transactions"
            " (tx_signature, slot, events_read, changes, reason, resolved_at)"
            " values ($1, $2, 0, $3, 'the node has forgotten it', now())",
            "2" * 88,
            made.slot,
            [str(story.market)],
        )
    query = "select count(*), (select count(*) from truncated_transactions where resolved_at is null)"
    query += " from market_corrections"
    await indexer.roll_back([TransactionInSlot(latest.slot, latest.signature)])
    await indexer.replace_events(EventDiff(((late.signature, 0),)), {}, {}, made.at)
    await indexer.replace_events(EventDiff(), {made.market_id: str(story.market)}, {}, made.at)
    assert await fetch(database, query) == [(1, 0)]
    assert await fetch(database, "select total_volume from markets") == [(volume,)]
    await indexer.roll_back([TransactionInSlot(early.slot, early.signature)])
    assert await fetch(database, query) == [(0, 1)]
    assert await fetch(database, "select total_volume from markets") == [(0,)]


async def forget_truncated(database: Database) -> None:
    async with database.service() as connection:
        await connection.execute("delete from truncated_transactions where true")
        await connection.execute("delete from protocol_config_history where true")


async def unread(database: Database, signature: str, slot: int, changes: str) -> TransactionInSlot:
    """A truncated transaction that nobody could read, and that a repair has made up for."""
    async with database.service() as connection:
        await connection.execute(
            "insert into truncated_transactions"
            " (tx_signature, slot, events_read, changes, reason, resolved_at, commitment)"
            " values ($1, $2, 0, $3, 'the node has forgotten it', now(), 'finalized')",
            signature,
            slot,
            [changes],
        )
    return TransactionInSlot(slot, signature)


@pytest.mark.parametrize("change", [{"timestamp": GENESIS_TIME}, {"outcome": False}])
async def test_a_resolution_that_no_event_tells_of_is_that_of_its_unread_transaction(
    indexer: Indexer, database: Database, change: dict[str, Any]
) -> None:
    """What was said about another resolution is not said about this one."""
    story = Story(16)
    story.create()
    story.open_for_trading()
    story.trade(2)
    before = len(story.transactions)
    story.resolve(True)
    true = story.transactions[-1]
    truth = correction(story, await accounts(indexer, database, story), story.slot)
    await start_anew(database)
    resolved = true.events[0].event
    assert isinstance(resolved, MarketResolved)
    other = replace(resolved, **change)
    claimed = replace(true, signature="3" * 88, slot=true.slot - 1, events=(EventRecord(0, other),))
    await indexer.apply([*story.transactions[:before], claimed])
    async with database.service() as connection:
        await connection.execute(
            "insert into dispute_requests (market_id, user_wallet) select id, creator_wallet from markets"
        )
    unread_one = await unread(database, "2" * 88, true.slot, str(story.market))
    async with database.service() as connection:
        await connection.execute(
            "update truncated_transactions set block_time = to_timestamp($1)", resolved.timestamp
        )
    await indexer.correct(truth, story.market)
    said = "select resolved_in, (select count(*) from dispute_requests) from markets"
    assert await fetch(database, said) == [(unread_one.signature, 0)]


OPEN = "select tx_signature from truncated_transactions where resolved_at is null"


async def test_a_correction_ends_with_a_transaction_before_it_that_has_no_event(
    indexer: Indexer, database: Database
) -> None:
    """Of a market, and of the configuration, also where the correction names another transaction."""
    story = Story(10)
    story.create()
    story.open_for_trading()
    story.tell(story._buy())
    truth = correction(story, await accounts(indexer, database, story), story.slot)
    made = replace(truth, slot=story.slot + 3, market=replace(truth.market, total_volume=story.volume + 7))
    await indexer.correct(made, story.market)
    market, configuration = str(story.market), str(Pdas(PROGRAM).global_config())
    first = await unread(database, "2" * 88, made.slot - 1, market)
    other = await unread(database, "3" * 88, made.slot, market)
    later = await unread(database, "4" * 88, made.slot + 1, market)
    await indexer.roll_back([later])
    assert await corrected(database) == [made.market_id]
    await indexer.roll_back([first])
    assert await corrected(database) == []
    assert await fetch(database, "select total_volume from markets") == [(story.volume,)]
    assert await fetch(database, OPEN) == [(other.signature,)]
    await forget_truncated(database)

    slots = [story.slot - 1, story.slot, story.slot + 1]
    signatures = ["2" * 88, "3" * 88, "4" * 88]
    paused = ConfigurationCorrection(signatures[0], slots[0], ConfigurationFacts(is_paused=True))
    fees = ConfigurationFacts(
        protocol_fee_bps=100,
        resolver_reward_bps=50,
        liquidity_provider_fee_bps=25,
        proposal_approval_threshold=1,
        dispute_success_threshold=1,
        min_resolution_delay=1,
        dispute_period=1,
    )
    for lost in (1, 2):
        gone = [
            await unread(database, signature, slot, configuration)
            for signature, slot in zip(signatures, slots, strict=True)
        ]
        await indexer.correct_configuration(paused, made.at)
        await indexer.correct_configuration(ConfigurationCorrection(signatures[2], slots[2], fees), made.at)
        now = "select is_paused, protocol_fee_bps from protocol"
        assert await fetch(database, now) == [(True, 100)]
        await indexer.roll_back([gone[lost]])
        assert await fetch(database, now) == [(True, None)]
        assert await fetch(database, OPEN) == [(gone[3 - lost].signature,)]
        await forget_truncated(database)


async def test_what_was_accepted_because_of_an_event_that_is_not_on_the_chain_is_open_again(
    indexer: Indexer, database: Database
) -> None:
    story = Story(15)
    story.create()
    story.open_for_trading()
    story.tell(story._buy())
    await indexer.apply(story.transactions)
    before = await unread(database, "2" * 88, story.slot, str(story.market))
    story.tell(story._buy())
    await indexer.apply(story.transactions)
    *_, true, claimed = story.transactions
    await unread(database, "3" * 88, story.slot, str(Pdas(PROGRAM).global_config()))
    accepted = await unread(database, "4" * 88, story.slot, str(story.market))
    await indexer.roll_back([TransactionInSlot(claimed.slot, claimed.signature)])
    assert await fetch(database, OPEN) == [(accepted.signature,)]
    await indexer.roll_back([TransactionInSlot(true.slot, true.signature)])
    assert set(await fetch(database, OPEN)) == {(accepted.signature,), (before.signature,)}

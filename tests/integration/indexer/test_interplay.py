"""Deliveries, lies, rollbacks, corrections and places in any order: what a replay in order gives."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from tests.integration.indexer.story import PROGRAM, Story
from tests.integration.indexer.test_corrections import correction, start_anew
from tests.integration.indexer.test_rollback import facts, recorded
from zmartd.chain import events
from zmartd.chain.pdas import Pdas
from zmartd.chain.transactions import ChainTransaction
from zmartd.clock import SystemClock
from zmartd.indexer.apply import Indexer
from zmartd.indexer.audit.audit import read_one_market
from zmartd.indexer.effects.configuration import ConfigurationCorrection, configuration_corrections
from zmartd.indexer.effects.facts import ConfigurationFacts
from zmartd.indexer.rebuild.corrections import corrections_by_address
from zmartd.market.iso_time import utc_from_unix
from zmartd.realtime.bus import Bus
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store.postgres.database import Database

Step = Callable[[], Awaitable[Any]]
NOW = utc_from_unix(1_800_009_999)


@pytest.fixture
async def indexer(database: Database, redis_url: str) -> AsyncIterator[Indexer]:
    redis = Redis.from_url(redis_url)
    yield Indexer(database, StreamPublisher(Bus(redis, SystemClock())), Pdas(PROGRAM))
    await redis.aclose()


def life(seed: int) -> tuple[Story, list[int]]:
    """A market's life, and the slots at which its accounts are read."""
    story = Story(seed)
    story.create()
    story.open_for_trading()
    story.trade(3)
    story.rates = (100, 50, 25)
    changed = events.ConfigUpdated(*story.rates, 7_000, 6_000, 86_400, 259_200, story.now)
    story.tell(changed, story._buy(), slots=story.random.choice([0, 1]))
    slots = [story.slot]
    story.slot += 1
    story.trade(3)
    slots.append(story.slot)
    story.slot += 1
    paused = events.ProtocolPauseStatusChanged(True, story.authority, story.now)
    story.tell(paused, slots=0)
    story.resolve(False)
    story.dispute()
    story.tell(events.DisputeAggregated(story.market_id, 3, 1, 75, True, story.now), slots=0)
    story.tell(events.DisputeInitiated(story.market_id, story.traders[1], False, story.now), slots=0)
    story.finalize(True, disputed=True)
    story.claim(True)
    story.withdraw()
    return story, slots


def configuration(signature: str, slot: int, fee: int) -> ConfigurationCorrection:
    told = ConfigurationFacts(
        protocol_fee_bps=fee,
        resolver_reward_bps=50,
        liquidity_provider_fee_bps=25,
        proposal_approval_threshold=7_000,
        dispute_success_threshold=6_000,
        min_resolution_delay=86_400,
        dispute_period=259_200,
    )
    return ConfigurationCorrection(signature, slot, told)


@pytest.mark.parametrize("seed", [0, 6, 25])
async def test_whatever_happens_meanwhile_the_index_is_what_a_replay_in_order_gives(
    indexer: Indexer, database: Database, seed: int
) -> None:
    rng = random.Random(seed)
    story, slots = life(100 + seed)
    transactions = [
        replace(tx, index_in_block=place if rng.random() < 0.5 else None)
        for place, tx in enumerate(story.transactions)
    ]
    story.transactions, everything = transactions, transactions
    made = []
    for slot in slots:
        story.transactions = [tx for tx in everything if tx.slot <= slot]
        await indexer.apply(story.transactions)
        found = (await read_one_market(database, story.market)).facts
        made.append(correction(story, found, slot))
        await start_anew(database)
    again = [
        replace(tx, slot=tx.slot + rng.choice([1, 40]), signature=tx.signature)
        for tx in rng.sample(everything[6:], 5)
    ]
    moved = {tx.signature for tx in again}
    lies = [
        replace(tx, signature=f"{'3' * 80}{place:07}".replace("0", "x"), slot=tx.slot + rng.choice([0, 1]))
        for place, tx in enumerate(rng.sample(everything[1:], 8))
    ]
    lost = [tx for tx in everything if tx.signature in moved] + lies
    true = [tx for tx in everything if tx.signature not in moved]
    corrected = [
        configuration("4" * 88, story.slot - 3, 77),
        configuration(everything[8].signature, everything[8].slot, 99),
    ]
    steps: list[Step] = [
        *(apply(indexer, tx, rng.choice(["confirmed", "finalized"])) for tx in true + lost),
        *(apply(indexer, replace(tx, index_in_block=None), "confirmed") for tx in rng.sample(true, 9)),
        *(roll_back(indexer, tx) for tx in rng.sample(lost, 6)),
        *(lambda one=one: indexer.correct(one, story.market) for one in made),
        *(lambda one=one: indexer.correct_configuration(one, NOW) for one in corrected),
        *(lambda part=part: indexer.promote(recorded(part), part) for part in (true[::2], lost)),
    ]
    rng.shuffle(steps)
    for step in steps:
        await step()
    for start in range(0, len(lost), 4):
        await indexer.roll_back(recorded(lost[start : start + 4]))
    for tx in rng.sample([*true, *again], len(true) + len(again)):
        await indexer.apply([tx])
    got = await facts(database)

    async with database.service() as connection:
        standing = await corrections_by_address(connection)
        of_configuration = await configuration_corrections(connection)
    await start_anew(database)
    for tx in sorted([*true, *again], key=lambda tx: (tx.slot, tx.index_in_block or 0)):
        await indexer.apply([tx])
    for one in of_configuration:
        await indexer.correct_configuration(one, NOW)
    for held in standing.values():
        await indexer.correct(held, story.market)
    expected = await facts(database)
    assert {name: (got.get(name), fact) for name, fact in expected.items() if got.get(name) != fact} == {}


def apply(indexer: Indexer, transaction: ChainTransaction, commitment: Any) -> Step:
    return lambda: indexer.apply([transaction], commitment)


def roll_back(indexer: Indexer, transaction: ChainTransaction) -> Step:
    return lambda: indexer.roll_back(recorded([transaction]))

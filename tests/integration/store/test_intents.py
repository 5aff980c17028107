from __future__ import annotations

import asyncio
import random

import pytest

from zmartd.chain.signed_transactions import Fate, SignedTransaction
from zmartd.config import TransactionSettings
from zmartd.market.ids import base58_encode
from zmartd.store.intents import Intent, Standing, claim, expired_before
from zmartd.store.postgres.database import Database
from zmartd.transactions.outbox import DatabaseOutbox

MARKET, OTHER_MARKET, THIRD_MARKET = "ab" * 32, "cd" * 32, "ef" * 32


def transaction(number: int, purpose: str = "finalize_market") -> SignedTransaction:
    return SignedTransaction(base58_encode(bytes([number] * 64)), bytes([number]), 1_000, purpose)


def intent(
    market_id: str = MARKET,
    purpose: str = "finalize_market",
    *,
    of_round: str = "first",
    effect: bytes = bytes(32),
    read_at_slot: int = 100,
) -> Intent:
    return Intent(market_id, purpose, of_round, effect, read_at_slot)


FIRST, SECOND, THIRD = transaction(1), transaction(2), transaction(3)


async def claimed(
    database: Database, proposed: SignedTransaction | None, *intents: Intent
) -> dict[str, Standing]:
    async with database.service() as connection:
        return await claim(connection, intents or (intent(),), proposed)


@pytest.fixture
def outbox(database: Database) -> DatabaseOutbox:
    return DatabaseOutbox(database, TransactionSettings())


async def pending(outbox: DatabaseOutbox) -> list[SignedTransaction]:
    return list(await outbox.pending())


async def test_what_is_claimed_first_is_what_everybody_goes_on_with(
    database: Database, outbox: DatabaseOutbox
) -> None:
    proposals = [transaction(number) for number in range(1, 6)]
    answers = await asyncio.gather(*(claimed(database, proposed) for proposed in proposals))
    (winner,) = await pending(outbox)
    assert sorted(answers, key=len) == [{}] + [{MARKET: Standing(winner, None, serves=True)}] * 4


async def test_another_market_or_another_purpose_is_another_claim(database: Database) -> None:
    assert await claimed(database, FIRST) == {}
    assert await claimed(database, SECOND, intent(OTHER_MARKET)) == {}
    assert await claimed(database, THIRD, intent(purpose="initiate_dispute")) == {}


@pytest.mark.parametrize("fate", [Fate.FAILED, Fate.EXPIRED])
async def test_what_came_to_nothing_makes_way_for_a_new_one(
    database: Database, outbox: DatabaseOutbox, fate: Fate
) -> None:
    await claimed(database, FIRST)
    await outbox.record_fate(FIRST.signature, fate, None, None)
    assert await claimed(database, SECOND) == {}
    assert await claimed(database, None) == {MARKET: Standing(SECOND, None, serves=True)}


async def test_a_landing_that_the_decision_did_not_see_is_the_one_to_go_on_with(
    database: Database, outbox: DatabaseOutbox
) -> None:
    await claimed(database, FIRST)
    await outbox.record_fate(FIRST.signature, Fate.LANDED, 101, None)
    assert await claimed(database, SECOND) == {MARKET: Standing(FIRST, 101, serves=True)}


async def test_a_landing_that_the_decision_should_have_seen_was_taken_by_a_fork_and_is_sent_again(
    database: Database, outbox: DatabaseOutbox
) -> None:
    await claimed(database, FIRST)
    await outbox.record_fate(FIRST.signature, Fate.LANDED, 100, None)
    assert await claimed(database, SECOND) == {MARKET: Standing(FIRST, None, serves=True)}
    assert await pending(outbox) == [FIRST]

    await outbox.record_fate(FIRST.signature, Fate.EXPIRED, None, None)
    assert await claimed(database, SECOND) == {}


async def test_a_landing_of_an_earlier_round_does_not_stand_in_the_way(
    database: Database, outbox: DatabaseOutbox
) -> None:
    await claimed(database, FIRST)
    await outbox.record_fate(FIRST.signature, Fate.LANDED, 101, None)
    assert await claimed(database, SECOND, intent(of_round="second")) == {}
    assert await pending(outbox) == [SECOND]


@pytest.mark.parametrize("other", [intent(of_round="second"), intent(effect=bytes([1] * 32))])
async def test_what_may_still_land_and_does_something_else_is_waited_for(
    database: Database, outbox: DatabaseOutbox, other: Intent
) -> None:
    await claimed(database, FIRST)
    assert await claimed(database, SECOND, other) == {MARKET: Standing(FIRST, None, serves=False)}
    assert await pending(outbox) == [FIRST]
    await outbox.record_fate(FIRST.signature, Fate.EXPIRED, None, None)
    assert await claimed(database, SECOND, other) == {}


async def test_the_same_bytes_proposed_again_after_a_failure_are_pending_again(
    database: Database, outbox: DatabaseOutbox
) -> None:
    await claimed(database, FIRST)
    await outbox.record_fate(FIRST.signature, Fate.FAILED, None, "AccountNotFound")
    assert await claimed(database, FIRST) == {}
    found = await outbox.find(FIRST.signature)
    assert found is not None
    assert (found.fate, found.error, found.ended_at) == (None, None, None)


async def test_the_same_bytes_cannot_land_for_another_round(
    database: Database, outbox: DatabaseOutbox
) -> None:
    await claimed(database, FIRST)
    await outbox.record_fate(FIRST.signature, Fate.LANDED, 99, None)
    (standing,) = (await claimed(database, FIRST, intent(of_round="second"))).values()
    assert not standing.serves
    assert await pending(outbox) == []


async def test_a_transaction_for_several_markets_is_recorded_for_all_or_for_none(
    database: Database, outbox: DatabaseOutbox
) -> None:
    await claimed(database, FIRST, intent(OTHER_MARKET))
    both = intent(MARKET), intent(OTHER_MARKET)
    assert await claimed(database, SECOND, *both) == {OTHER_MARKET: Standing(FIRST, None, serves=True)}
    assert await pending(outbox) == [FIRST]

    third = intent(MARKET), intent(THIRD_MARKET)
    assert await claimed(database, THIRD, *third) == {}
    assert await claimed(database, None, *both, intent(THIRD_MARKET)) == {
        MARKET: Standing(THIRD, None, serves=True),
        OTHER_MARKET: Standing(FIRST, None, serves=True),
        THIRD_MARKET: Standing(THIRD, None, serves=True),
    }


async def test_how_often_a_transaction_for_the_same_has_expired_is_counted(
    database: Database, outbox: DatabaseOutbox
) -> None:
    for proposed, fate in ((FIRST, Fate.EXPIRED), (SECOND, Fate.FAILED), (THIRD, Fate.EXPIRED)):
        await claimed(database, proposed)
        await outbox.record_fate(proposed.signature, fate, None, None)
    async with database.service_reader() as connection:
        assert await expired_before(connection, [intent(OTHER_MARKET), intent()]) == 2
        assert await expired_before(connection, [intent(of_round="second")]) == 0


async def test_overlapping_batches_of_many_daemons_never_wait_for_each_other_in_a_circle(
    database: Database, outbox: DatabaseOutbox
) -> None:
    rng = random.Random(7)
    markets = [f"{number:064x}" for number in range(12)]

    async def daemon(number: int) -> None:
        wanted = rng.sample(markets, 8)
        for attempt in range(len(wanted) + 1):
            proposed = transaction(10 * number + attempt)
            taken = await claimed(database, proposed, *(intent(market) for market in wanted))
            wanted = [market for market in wanted if market not in taken]
            if not taken or not wanted:
                return

    await asyncio.gather(*(daemon(number) for number in range(1, 9)))

    async with database.service() as connection:
        rows = await connection.fetch(
            "select market_id, count(*) from transaction_intents where is_current group by market_id"
        )
    assert {row["market_id"] for row in rows} == set(markets)
    assert {row["count"] for row in rows} == {1}
    assert len(await pending(outbox)) <= len(markets)

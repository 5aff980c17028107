from __future__ import annotations

import asyncio

import pytest

from zmartd.chain.signed_transactions import Fate, SignedTransaction
from zmartd.config import TransactionSettings
from zmartd.market.ids import base58_encode
from zmartd.store.outbox import OutboxClaim, claim
from zmartd.store.postgres.database import Database
from zmartd.transactions.outbox import DatabaseOutbox

MARKET, OTHER_MARKET = "ab" * 32, "cd" * 32


def transaction(number: int, purpose: str = "finalize_market") -> SignedTransaction:
    return SignedTransaction(base58_encode(bytes([number] * 64)), bytes([number]), 1_000, purpose)


FIRST, SECOND = transaction(1), transaction(2)


async def claimed(
    database: Database, proposed: SignedTransaction, market_id: str = MARKET, read_at_slot: int = 100
) -> OutboxClaim:
    async with database.service() as connection:
        return await claim(connection, market_id, proposed, read_at_slot)


async def test_what_is_claimed_first_is_what_everybody_goes_on_with(database: Database) -> None:
    proposals = [transaction(number) for number in range(1, 6)]
    claims = await asyncio.gather(*(claimed(database, proposed) for proposed in proposals))
    (winner,) = {each.transaction.signature for each in claims}
    assert [sent.signature for sent in await DatabaseOutbox(database, TransactionSettings()).pending()] == [
        winner
    ]


async def test_another_market_or_another_purpose_is_another_claim(database: Database) -> None:
    await claimed(database, FIRST)
    assert (await claimed(database, SECOND, OTHER_MARKET)).transaction == SECOND
    assert (await claimed(database, transaction(3, "initiate_dispute"))).transaction.wire == b"\3"


@pytest.mark.parametrize("fate", [Fate.FAILED, Fate.EXPIRED])
async def test_what_came_to_nothing_makes_way_for_a_new_one(database: Database, fate: Fate) -> None:
    await claimed(database, FIRST)
    await DatabaseOutbox(database, TransactionSettings()).record_fate(FIRST.signature, fate, None, None)
    assert await claimed(database, SECOND) == OutboxClaim(SECOND, None)


async def test_a_landing_that_the_decision_did_not_see_is_the_one_to_go_on_with(database: Database) -> None:
    await claimed(database, FIRST)
    await DatabaseOutbox(database, TransactionSettings()).record_fate(FIRST.signature, Fate.LANDED, 101, None)
    assert await claimed(database, SECOND, read_at_slot=100) == OutboxClaim(FIRST, 101)


async def test_a_landing_that_the_decision_saw_does_not_stand_in_the_way(database: Database) -> None:
    await claimed(database, FIRST)
    await DatabaseOutbox(database, TransactionSettings()).record_fate(FIRST.signature, Fate.LANDED, 100, None)
    assert await claimed(database, SECOND, read_at_slot=100) == OutboxClaim(SECOND, None)


async def test_the_same_bytes_proposed_again_after_a_failure_are_pending_again(database: Database) -> None:
    outbox = DatabaseOutbox(database, TransactionSettings())
    await claimed(database, FIRST)
    await outbox.record_fate(FIRST.signature, Fate.FAILED, None, "AccountNotFound")
    assert await claimed(database, FIRST) == OutboxClaim(FIRST, None)
    found = await outbox.find(FIRST.signature)
    assert found is not None
    assert (found.fate, found.error, found.ended_at) == (None, None, None)

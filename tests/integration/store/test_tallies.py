from __future__ import annotations

import asyncio

import pytest

from tests import patience
from tests.integration.store.rows import insert_market
from tests.integration.store.test_intents import FIRST, intent
from zmartd.chain.signed_transactions import Fate
from zmartd.config import TransactionSettings
from zmartd.market.lifecycle import VoteKind
from zmartd.market.votes import CountingRule
from zmartd.store import tallies
from zmartd.store.intents import claim
from zmartd.store.postgres.database import Database
from zmartd.transactions.outbox import DatabaseOutbox

RULE = CountingRule(threshold_bps=7_000)
READ_AT_SLOT = 100


async def given_up(database: Database, kind: VoteKind, market_id: str) -> None:
    """What a daemon does whose own transaction for the tally has expired."""
    async with database.service() as connection:
        if kind is VoteKind.PROPOSAL:
            await tallies.reopen(connection, kind, market_id, READ_AT_SLOT)
        else:
            await tallies.clear_signature(connection, kind, market_id, READ_AT_SLOT)


async def signature_of(database: Database, kind: VoteKind, market_id: str) -> str | None:
    async with database.service_reader() as connection:
        tally = await tallies.find(connection, kind, market_id)
    return None if tally is None else tally.signature


async def somebody_waits(database: Database) -> bool:
    async with database.service_reader() as connection:
        return bool(await connection.fetchval("select exists (select from pg_locks where not granted)"))


@pytest.mark.parametrize("kind", VoteKind)
async def test_a_daemon_that_gives_up_leaves_what_another_is_recording_meanwhile(
    database: Database, kind: VoteKind
) -> None:
    async with database.service() as connection:
        market_id = await insert_market(connection, "m", kind.open_state)
        await tallies.close(connection, kind, market_id)
    async with database.service() as recording:
        await claim(recording, [intent(market_id)], FIRST)
        await tallies.close(recording, kind, market_id)
        await tallies.set_signature(recording, kind, market_id, FIRST.signature, RULE)
        giving_up = asyncio.create_task(given_up(database, kind, market_id))
        async with asyncio.timeout(patience.SECONDS):
            while not (giving_up.done() or await somebody_waits(database)):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.02)
    await giving_up
    assert await signature_of(database, kind, market_id) == FIRST.signature


@pytest.mark.parametrize(
    ("fate", "slot", "stays"),
    [
        (None, None, True),
        (Fate.LANDED, READ_AT_SLOT + 1, True),
        (Fate.LANDED, READ_AT_SLOT, False),
        (Fate.EXPIRED, None, False),
    ],
)
@pytest.mark.parametrize("kind", VoteKind)
async def test_a_daemon_that_gives_up_leaves_what_may_stand(
    database: Database, kind: VoteKind, fate: Fate | None, slot: int | None, stays: bool
) -> None:
    async with database.service() as connection:
        market_id = await insert_market(connection, "m", kind.open_state)
        await tallies.close(connection, kind, market_id)
        await claim(connection, [intent(market_id)], FIRST)
        await tallies.set_signature(connection, kind, market_id, FIRST.signature, RULE)
    if fate is not None:
        outbox = DatabaseOutbox(database, TransactionSettings())
        await outbox.record_fate(FIRST.signature, fate, slot, None)
    await given_up(database, kind, market_id)
    assert await signature_of(database, kind, market_id) == (FIRST.signature if stays else None)

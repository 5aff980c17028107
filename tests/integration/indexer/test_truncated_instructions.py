"""Every instruction with a log that lacks its event: the index equals the chain all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.integration.indexer.market_lives import behind_memos, every_instruction, forwarded_behind_memos
from tests.integration.indexer.test_reconcile import assert_true_to_the_chain, settled
from tests.integration.tasks.world import PROGRAM_ID, Disguise, World, a_world
from zmartd.chain.codec import Codec
from zmartd.chain.interface import INTERFACE
from zmartd.chain.transactions import ChainTransaction, parse_transaction
from zmartd.indexer.truncation.history import History
from zmartd.indexer.truncation.inference import INFERENCES, infer_events
from zmartd.store.postgres.database import Database


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    redis = Redis.from_url(redis_url)
    yield redis
    await redis.aclose()


def with_truncated_logs(raw: dict[str, Any]) -> dict[str, Any]:
    return raw | {"meta": raw["meta"] | {"logMessages": ["Log truncated"]}}


async def whole_history(world: World) -> list[dict[str, Any]]:
    """All transactions of the program as the node has them, oldest first."""
    listed = await world.own.rpc.signatures_for_address(PROGRAM_ID)
    found = [await world.own.rpc.transaction(one.signature) for one in reversed(listed)]
    return [one for one in found if one is not None]


def names_of(transaction: ChainTransaction) -> set[str]:
    return {call.name for call in transaction.calls or ()}


def test_every_instruction_of_the_program_has_its_inference() -> None:
    assert set(INFERENCES) == {form.arguments for form in INTERFACE.values()}
    assert len(INFERENCES) == 18


async def test_what_is_inferred_is_to_the_last_field_what_the_program_said(
    tmp_path: Path, database: Database, redis: Redis
) -> None:
    async with a_world(tmp_path / "chain", database, redis) as world:
        await every_instruction(world)
        parse = partial(parse_transaction, program_id=PROGRAM_ID, codec=Codec(world.idl))
        history = History(database, world.own.rpc, world.program.pdas)
        seen: set[str] = set()
        for raw in await whole_history(world):
            logged, truncated = parse(raw), parse(with_truncated_logs(raw))
            assert truncated.calls is not None
            assert truncated.block_time is not None
            known = await history.before(truncated)
            inference = infer_events(truncated.calls, (), known, truncated.flows, truncated.block_time)
            assert (inference.events, inference.reason) == (logged.events, None), names_of(truncated)
            assert inference.payments == logged.resolver_payments
            seen |= names_of(truncated)
        assert seen == set(INTERFACE)


@pytest.mark.parametrize("disguise", [behind_memos, forwarded_behind_memos], ids=["alone", "called"])
async def test_the_index_equals_the_chain_although_no_log_has_an_event(
    tmp_path: Path, database: Database, database_url: str, redis: Redis, disguise: Disguise
) -> None:
    async with a_world(tmp_path / "chain", database, redis, disguise=disguise) as world:
        await every_instruction(world)
        parse = partial(parse_transaction, program_id=PROGRAM_ID, codec=Codec(world.idl))
        transactions = [parse(raw) for raw in await whole_history(world)]
        assert [one.signature for one in transactions if one.events or not one.logs_truncated] == []
        assert set().union(*map(names_of, transactions)) == set(INTERFACE)
        assert await world.fetch("select * from program_events") == []
        report = await settled(world)
        assert report.recovered == len(transactions)
        await assert_true_to_the_chain(world, database_url)
        states = "select state, count(*) from markets group by state order by state::text"
        assert await world.fetch(states) == [("CANCELLED", 1), ("FINALIZED", 3)]
        assert await world.fetch("select user_wallet from user_positions where has_claimed") != []
        assert (await settled(world)).new_events == 0

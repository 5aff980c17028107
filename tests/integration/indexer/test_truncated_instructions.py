"""Every instruction with a log that lacks its event: the index equals the chain all the same."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.integration.chain.chain_nodes import node_before
from tests.integration.indexer.market_lives import behind_memos, every_instruction, forwarded_behind_memos
from tests.integration.indexer.test_reconcile import (
    assert_true_to_the_chain,
    finalized,
    reconciled,
    settled,
)
from tests.integration.indexer.test_rollback import facts
from tests.integration.tasks.world import HOLDERS, PROGRAM_ID, Daemon, Disguise, World, a_world
from zmartd import config
from zmartd.chain.codec import Codec
from zmartd.chain.interface import INTERFACE
from zmartd.chain.rpc import Rpc
from zmartd.chain.transactions import ChainTransaction, parse_transaction
from zmartd.clock import SystemClock
from zmartd.indexer.audit.audit import audit
from zmartd.indexer.repair.repair import Repairer
from zmartd.indexer.replay.replay import replay
from zmartd.indexer.truncation.history import History
from zmartd.indexer.truncation.inference import INFERENCES, infer_events
from zmartd.market.lifecycle import MarketState
from zmartd.store.postgres.database import Database
from zmartd.tasks.reconciler import Reconciler


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


Change = Callable[[dict[str, Any]], dict[str, Any]]


def without_inner_instructions(raw: dict[str, Any]) -> dict[str, Any]:
    return raw | {"meta": raw["meta"] | {"innerInstructions": None}}


def without_time(raw: dict[str, Any]) -> dict[str, Any]:
    return raw | {"blockTime": None}


def with_a_line_of_another_version(raw: dict[str, Any]) -> dict[str, Any]:
    line = f"Program data: {base64.b64encode(b'an event of later').decode()}"
    logs = [f"Program {PROGRAM_ID} invoke [1]", line, "Log truncated"]
    return raw | {"meta": raw["meta"] | {"logMessages": logs}}


UNREADABLE: dict[str, tuple[Change, str]] = {
    "no inner instructions": (without_inner_instructions, "the node has not kept the inner instructions"),
    "no time": (without_time, "the node does not know the time of its block"),
    "an unknown event": (with_a_line_of_another_version, "a line of its logs cannot be decoded"),
}


@asynccontextmanager
async def unreadable(world: World, change: Change) -> AsyncIterator[Daemon]:
    """A daemon whose node has lost something of every transaction with truncated logs."""
    async with node_before(world.rpc_url) as node, Rpc(node.address, clock=SystemClock()) as rpc:

        def changed(raw: Any) -> Any:
            truncated = raw is not None and "Log truncated" in raw["meta"]["logMessages"]
            return change(raw) if truncated else raw

        node.changes["getTransaction"] = changed
        yield Daemon(world, rpc, world.own.sender, world.fetcher(rpc))


@pytest.mark.parametrize("what", UNREADABLE)
async def test_where_no_event_can_be_inferred_it_is_an_alert_until_a_repair_reads_the_accounts(
    tmp_path: Path, database: Database, database_url: str, redis: Redis, what: str
) -> None:
    change, reason = UNREADABLE[what]
    async with a_world(tmp_path / "chain", database, redis) as world, unreadable(world, change) as daemon:
        market_id = await world.active()
        await world.buy(market_id, HOLDERS[0], 10**8)
        await finalized(world)
        await reconciled(world)
        before = await facts(database)
        world.disguise = behind_memos
        await world.buy(market_id, HOLDERS[1], 10**8)
        await world.resolve(market_id)
        world.disguise = tuple
        await finalized(world)
        task = Reconciler(daemon.context())
        actions = [action for action in await task.run() if not action.ok]
        assert len(actions) == 2
        assert reason in actions[0].detail
        assert await facts(database) == before
        repairer = Repairer(daemon.rpc, daemon.fetcher, database, PROGRAM_ID)
        found = await audit(database, daemon.rpc, PROGRAM_ID, patience_seconds=0.0)
        assert [one.signature for one in found.incomplete] == [action.signature for action in actions]
        assert found.differences != ()
        repaired = await repairer.repair()
        assert (repaired.report.differences, repaired.report.incomplete) == ((), ())
        assert repaired.corrected == (str(world.address(market_id)),)
        assert (await world.states(market_id))[1] is MarketState.RESOLVING
        assert [action for action in await task.run() if not action.ok] == []
        parse = partial(parse_transaction, program_id=PROGRAM_ID, codec=Codec(world.idl))
        settings = config.DatabaseSettings(url=config.PostgresUrl(database_url))
        replayed = await replay(database, settings, rpc=daemon.rpc, program_id=PROGRAM_ID, parse=parse)
        assert [one.table for one in replayed.tables if not one.ok] == []
        # A node that has kept everything makes the correction unnecessary.
        repairer = Repairer(world.own.rpc, world.own.fetcher, database, PROGRAM_ID)
        assert (await repairer.repair_everything()).ok
        assert await world.fetch("select * from market_corrections") == []
        await assert_true_to_the_chain(world, database_url)

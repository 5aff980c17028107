"""A dry run says what a run would send, and leaves everything as it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec
import pytest

from tests.integration.tasks.failing_markets import ruin
from tests.integration.tasks.test_approving import popular_proposal
from tests.integration.tasks.test_finalizing import due_market
from tests.integration.tasks.world import (
    AUTHORITY,
    DISPUTE_PERIOD_SECONDS,
    HOLDERS,
    MIN_PROPOSAL_VOTES,
    PROGRAM_ID,
    RESOLVER,
    World,
)
from zmartd import config
from zmartd.clock import SystemClock
from zmartd.config_values import PostgresUrl, RpcUrl, Secret
from zmartd.core import DryRuns, open_for_dry_runs
from zmartd.market.lifecycle import MarketState
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseUnavailable
from zmartd.tasks.dry_run import DryRun, NoDryRun, NothingIsSent, dry_run
from zmartd.tasks.market_monitor import MarketMonitor
from zmartd.tasks.vote_aggregator import VoteAggregator

Opened = Callable[..., Any]


@pytest.fixture
def opened(world: World, database_url: str) -> Opened:
    @asynccontextmanager
    async def open_them(**voting: Any) -> AsyncIterator[DryRuns]:
        settings = config.Settings(
            database=config.DatabaseSettings(url=PostgresUrl(database_url)),
            solana=config.SolanaSettings(
                rpc_url=RpcUrl(world.rpc_url),
                program_id=str(PROGRAM_ID),
                authority_secret_key=Secret(str(AUTHORITY)),
            ),
            voting=msgspec.structs.replace(
                config.VotingSettings(min_proposal_votes=MIN_PROPOSAL_VOTES, veto_seconds=0), **voting
            ),
        )
        async with open_for_dry_runs(settings, SystemClock()) as opened:
            yield opened

    return open_them


async def planned(opened: Opened, task: str, **voting: Any) -> DryRun:
    async with opened(**voting) as dry_runs:
        return await dry_run(dry_runs.tasks[task], dry_runs.context)


async def contents(database_url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    connection = await asyncpg.connect(database_url)
    try:
        tables = await connection.fetch(
            "select tablename from pg_tables where schemaname = 'public' order by 1"
        )
        await connection.execute("set role service_role")
        return {
            name: [tuple(row) for row in await connection.fetch(f'select * from public."{name}" order by 1')]
            for (name,) in tables
            if name != "schema_migrations"
        }
    finally:
        await connection.close()


async def test_it_shows_finalizations_with_their_simulation_and_changes_nothing(
    world: World, opened: Opened, database_url: str
) -> None:
    healthy = [await world.resolving() for _ in range(2)]
    hopeless = await due_market(world)
    await ruin(world, hopeless)
    before = await contents(database_url)

    found = await planned(opened, "market_monitor")

    assert await contents(database_url) == before
    assert not found.ok
    together, failing = found.transactions
    assert set(together.market_ids) == set(healthy)
    assert (together.purpose, together.failure, together.details) == (
        "finalize_market",
        None,
        ("undisputed", "undisputed"),
    )
    assert together.units is not None
    assert together.units_limit is not None
    assert 0 < together.units < together.units_limit
    assert together.fee_lamports == 5_000
    assert failing.market_ids == (hopeless,)
    assert failing.failure is not None
    assert failing.failure.startswith("BoundedLossExceeded: ")
    assert failing.logs
    for market_id in (*healthy, hopeless):
        assert (await world.account(market_id)).state is MarketState.RESOLVING

    actions = await MarketMonitor(world.own.context()).run()
    assert {one.market_id for one in actions if one.ok} == set(healthy)


async def test_it_counts_votes_as_they_are_and_closes_none(
    world: World, opened: Opened, database_url: str
) -> None:
    market_id = await popular_proposal(world)
    before = await contents(database_url)

    found = await planned(opened, "vote_aggregator")

    assert await contents(database_url) == before
    (approval,) = found.transactions
    assert (approval.purpose, approval.market_ids) == ("approve_proposal", (market_id,))
    assert approval.details == ("3 of 4 votes like it",)
    await world.vote_on_proposal(market_id, yes=1)
    (action,) = await VoteAggregator(world.own.context()).run()
    assert action.detail == "4 of 5 votes like it"


async def test_it_shows_what_settles_a_dispute_once_the_time_for_a_veto_is_over(
    world: World, opened: Opened, database_url: str
) -> None:
    market_id = await world.disputed(10**9, 10**9)
    await world.vote_on_dispute(market_id, True, True)
    await world.travel(DISPUTE_PERIOD_SECONDS)
    before = await contents(database_url)

    (settlement,) = (await planned(opened, "vote_aggregator")).transactions
    assert (settlement.purpose, settlement.market_ids) == ("finalize_market", (market_id,))
    assert "the outcome flips to NO" in settlement.details[0]
    assert (await planned(opened, "vote_aggregator", veto_seconds=3_600)).transactions == ()
    assert await contents(database_url) == before


async def test_it_shows_disputes_that_would_be_opened(
    world: World, opened: Opened, database_url: str
) -> None:
    asked_for = await world.resolving(10**9)
    strange = await world.resolving(10**9, resolver=RESOLVER)
    await world.request_dispute(asked_for, HOLDERS[0])
    await world.travel(DISPUTE_PERIOD_SECONDS - 1_800)
    before = await contents(database_url)

    found = await planned(opened, "vote_aggregator")

    assert await contents(database_url) == before
    assert {(one.purpose, *one.market_ids) for one in found.transactions} == {
        ("initiate_dispute", asked_for),
        ("initiate_dispute", strange),
    }


async def test_it_names_the_transaction_that_a_run_would_go_on_with(
    world: World, opened: Opened, database_url: str
) -> None:
    market_id = await popular_proposal(world)
    await world.misbehave(loseNext=1_000)
    async with world.daemon() as doomed:
        run = asyncio.create_task(VoteAggregator(doomed.context()).run())
        await world.until(lambda: world.outbox(market_id))
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
    ((signature,),) = await world.fetch("select signature from transaction_intents")
    before = await contents(database_url)

    (under_way,) = (await planned(opened, "vote_aggregator")).transactions

    assert (under_way.under_way, under_way.market_ids) == (signature, (market_id,))
    assert await contents(database_url) == before


async def test_nothing_that_it_opens_can_write_or_send(world: World, opened: Opened) -> None:
    market_id = await due_market(world)
    async with opened() as dry_runs:
        context = dry_runs.context
        for transaction in (context.database.service, context.database.service_reader):
            async with transaction() as connection:
                with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                    await connection.fetch("delete from outbox_transactions returning signature")
        for send in (context.rpc.send, context.rpc.broadcast):
            with pytest.raises(NothingIsSent):
                await send(b"")
        with pytest.raises(NothingIsSent):
            await context.submitter.submit_once([], None)
        # Also a task that is run, not planned, does nothing.
        with pytest.raises(DatabaseUnavailable, match="read only"):
            await MarketMonitor(context).run()
    assert await world.outbox(market_id) == []
    assert (await world.account(market_id)).state is MarketState.RESOLVING


async def test_behind_a_pooler_nothing_can_be_written_either(world: World, database_url: str) -> None:
    settings = config.DatabaseSettings(url=PostgresUrl(database_url), pooled="yes")
    database = await Database.connect(settings, read_only=True)
    try:
        for transaction in (database.service, database.service_reader):
            async with transaction() as connection:
                with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                    await connection.fetch("delete from outbox_transactions returning signature")
    finally:
        await database.close()


async def test_a_task_that_sends_nothing_has_no_dry_run(opened: Opened) -> None:
    async with opened() as dry_runs:
        with pytest.raises(NoDryRun, match="leaderboard sends no transactions"):
            await dry_run(dry_runs.tasks["leaderboard"], dry_runs.context)

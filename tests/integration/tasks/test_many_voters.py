from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests import patience
from tests.integration.chain.chain_nodes import Node
from tests.integration.chain.test_chain_balances import COINS, MovingCoins, PassingSlots, serving
from tests.integration.store.rows import insert_market, market_id
from tests.integration.tasks.test_settling_disputes import DAY_SECONDS, SOL, ended_dispute, run
from tests.integration.tasks.world import ADMIN, HOLDERS, World, a_world
from zmartd.chain.rpc import ACCOUNTS_PER_REQUEST, Rpc
from zmartd.clock import SystemClock
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.store import tallies
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import SERVICE
from zmartd.tasks import voter_balances, voter_verification
from zmartd.tasks.node_requests import NodeRequests
from zmartd.tasks.vote_aggregator import VoteAggregator
from zmartd.tasks.voter_balances import VoterBalances

APPROVED, PROPOSED = MarketState.APPROVED, MarketState.PROPOSED
ONE_STEP = voter_balances.VOTERS_AT_ONCE // ACCOUNTS_PER_REQUEST
"""The requests of a step with as many voters as it looks at."""
_VOTE = """
insert into proposal_votes (market_id, user_wallet, vote)
select $1, wallet, $3 from unnest($2::text[]) as wallet
"""


def addresses(count: int, of: int = 7) -> list[Pubkey]:
    return [Pubkey(number.to_bytes(4, "big") + bytes([of] * 28)) for number in range(count)]


async def vote(database: Database, market: str, voters: list[Pubkey], *, like: bool) -> None:
    async with database.service() as connection:
        # Triggers are for what strangers send, and take longer than thousands of votes.
        await connection.execute("reset role; alter table proposal_votes disable trigger user")
        await connection.execute(f"set local role {SERVICE}")
        await connection.execute(_VOTE, market, [str(voter) for voter in voters], like)
        await connection.execute("reset role; alter table proposal_votes enable trigger user")


async def requests_of(world: World, market: str) -> int:
    ((requests,),) = await world.fetch("select requests from voter_checks where market_id = $1", market)
    return int(requests)


async def test_votes_that_cost_nothing_take_several_runs_and_keep_nobody_waiting(world: World) -> None:
    flooded = await world.proposal()
    await world.vote_on_proposal(flooded, yes=3)
    await vote(world.database, flooded, addresses(2 * voter_balances.VOTERS_AT_ONCE + 10), like=False)
    small = await world.proposal()
    await world.vote_on_proposal(small, yes=3)

    first = await run(world, requests_per_run=ONE_STEP + 1)

    assert [(one.market_id, one.action) for one in first] == [
        (None, "count_votes"),
        (small, "approve_proposal"),
    ]
    assert await world.states(small) == (APPROVED, APPROVED)
    assert await world.closed_votes(flooded) == [(0, 0)]
    asked = await requests_of(world, flooded)
    assert asked == ONE_STEP
    # The daemon dies; another one goes on with the voters that come next.
    async with world.daemon() as other:
        (second,) = await VoteAggregator(other.context(requests_per_run=1)).run()
    assert second.action == "count_votes"
    assert await requests_of(world, flooded) == 2 * ONE_STEP

    (approved,) = await run(world, requests_per_run=ONE_STEP)

    assert (approved.market_id, approved.detail) == (flooded, "3 of 3 votes like it")
    assert await world.fetch("select from voter_balances") == []


async def test_holders_are_verified_in_several_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voter_verification, "VOTERS_AT_ONCE", 2)
    market = await ended_dispute(world, (SOL, True), (SOL, True), (SOL, True))

    (unfinished,) = await run(world, requests_per_run=1)
    assert (unfinished.action, unfinished.ok) == ("count_votes", True)
    assert len(await world.fetch("select from verified_voters")) == 2
    (settled,) = await run(world, requests_per_run=1)

    assert (settled.market_id, settled.action, settled.ok) == (market, "finalize_market", True)
    assert settled.detail.startswith("3 of 3 wallets")
    assert await world.fetch("select from verified_voters") == []


async def test_what_the_index_believes_after_it_was_verified_is_verified_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voter_verification, "VOTERS_AT_ONCE", 1)
    market = await ended_dispute(world, (SOL, True), (SOL, None), (SOL, True))
    (unfinished,) = await run(world, requests_per_run=1)
    assert unfinished.action == "count_votes"
    ((verified,),) = await world.fetch("select user_wallet from verified_voters")
    liar = next(holder for holder in HOLDERS if str(holder.pubkey()) == verified)
    await world.forge(market, liar, "a position")

    refused = await run(world)

    assert [(one.ok, verified in one.detail) for one in refused] == [(False, True)]
    assert await world.closed_votes(market) == [(0, 0)]
    assert await world.fetch("select counted_at from vote_tallies") == [(None,)]


async def test_a_run_that_changes_nothing_writes_nothing(
    tmp_path: Path, database: Database, redis: Redis
) -> None:
    async with a_world(tmp_path / "chain", database, redis, admin=ADMIN) as world:
        proposal = await world.proposal()
        await world.vote_on_proposal(proposal, yes=3)
        undecided = await ended_dispute(world, (SOL, None))
        announced = await ended_dispute(world, (SOL, True))
        for _ in range(2):
            await run(world, veto_seconds=100 * DAY_SECONDS)
        next_transaction = "select pg_snapshot_xmax(pg_current_snapshot())::text"
        before = await world.fetch(next_transaction)

        actions = await run(world, veto_seconds=100 * DAY_SECONDS)

        assert {(one.market_id, one.action) for one in actions} == {
            (proposal, "awaiting_admin_approval"),
            (undecided, "await_decision"),
            (announced, "announce_settlement"),
        }
        assert await world.fetch(next_transaction) == before


async def test_a_market_that_a_fork_took_for_good_is_reported_less_and_less_often(world: World) -> None:
    async with world.database.service() as connection:
        await insert_market(connection, "gone", PROPOSED, chain_confirmed=False, orphaned=True)
        await tallies.close(connection, VoteKind.PROPOSAL, market_id("gone"))

    (missing,) = await run(world)
    assert (missing.market_id, missing.ok) == (market_id("gone"), False)
    assert "attempt 1, again after" in missing.detail
    assert await run(world) == []
    await world.travel(301)
    (again,) = await run(world)
    assert "attempt 2, again after" in again.detail


async def known(database: Database, rpc: Rpc, market: str, steps: int = 50) -> list[str]:
    """Close the votes and take steps until all voters are known; those who had the balance."""
    async with database.service() as connection:
        await tallies.close(connection, VoteKind.PROPOSAL, market)
    balances = VoterBalances(database, rpc, COINS, NodeRequests(10**6, SystemClock(), patience.SECONDS))
    for _ in range(steps):
        if await balances.are_known(market):
            break
    else:
        raise AssertionError("the steps do not end")
    async with database.service_reader() as connection:
        rows = await connection.fetch("select user_wallet from voter_balances where holds")
    return [row["user_wallet"] for row in rows]


async def test_coins_that_move_between_readings_have_one_vote_at_most(world: World) -> None:
    first, last = Keypair.from_seed(bytes(32)).pubkey(), Keypair.from_seed(bytes([1] * 32)).pubkey()
    market = await world.proposal()
    wallets = sorted([*addresses(150), first, last], key=str)
    await vote(world.database, market, wallets, like=True)
    async with aiohttp.ClientSession() as session:
        node = MovingCoins(world.rpc_url, session, wallets[0], wallets[-1])
        await node.give(wallets[0], COINS)
        async with serving(node) as rpc:
            assert len(await known(world.database, rpc, market)) <= 1


async def test_a_node_whose_slots_pass_between_requests_leaves_out_nobody(world: World) -> None:
    market = await world.proposal()
    holders = addresses(ACCOUNTS_PER_REQUEST + 20)
    await vote(world.database, market, holders + addresses(30, of=8), like=True)
    async with aiohttp.ClientSession() as session:
        node = PassingSlots(world.rpc_url, session)
        for holder in holders:
            await node.give(holder, COINS)
        async with serving(node) as rpc:
            assert sorted(await known(world.database, rpc, market)) == sorted(map(str, holders))


async def test_a_few_voters_are_read_by_one_request(world: World) -> None:
    market = await world.proposal()
    await vote(world.database, market, addresses(ACCOUNTS_PER_REQUEST), like=True)
    async with aiohttp.ClientSession() as session:
        node = Node(world.rpc_url, session)
        async with serving(node) as rpc:
            assert await known(world.database, rpc, market) == []
    assert node.requests["getMultipleAccounts"] == 1

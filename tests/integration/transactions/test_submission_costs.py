"""What one transaction costs: statements that write the outbox, and requests to the node."""

from __future__ import annotations

from pathlib import Path

from redis.asyncio import Redis

from tests.integration.chain.chain_nodes import node_before
from tests.integration.http.rest.rest_api import running_api
from tests.integration.http.rest.rest_stage import ALICE, running_stage
from tests.integration.http.rest.test_relaying import lost, signed_buy
from tests.integration.tasks.test_finalizing import due_market
from tests.integration.tasks.world import a_world
from tests.integration.transactions.conftest import OutboxStatements
from zmartd.store.postgres.database import Database
from zmartd.tasks.market_monitor import MarketMonitor

SETTLED = ["update"]
"""The end of a transaction is written."""


async def test_a_relayed_transaction_is_recorded_once(
    database: Database, redis_url: str, tmp_path: Path, outbox_statements: OutboxStatements
) -> None:
    async with running_stage(database, redis_url, tmp_path) as stage:
        transaction, _ = await signed_buy(stage, await stage.active_market())
        await outbox_statements.taken()
        assert (await stage.alice.relay(transaction)).status == 200
        assert (await stage.alice.relay(transaction)).status == 200
    assert await outbox_statements.taken() == ["insert", *SETTLED]


async def test_a_transaction_that_another_daemon_recorded_is_not_recorded_again(
    database: Database, redis_url: str, tmp_path: Path, outbox_statements: OutboxStatements
) -> None:
    async with (
        running_stage(database, redis_url, tmp_path) as stage,
        running_api(database, redis_url, stage.rpc_url, patience_seconds=0.0) as one,
        running_api(database, redis_url, stage.rpc_url, patience_seconds=0.0) as other,
    ):
        transaction, _ = await signed_buy(stage, await stage.active_market())
        await lost(stage, 1_000)
        await outbox_statements.taken()
        for daemon in (one, other, one):
            assert (await daemon.as_wallet(ALICE).relay(transaction)).status == 202
        assert await outbox_statements.taken() == ["insert"]


async def test_an_authority_s_transaction_is_recorded_once(
    database: Database, redis_url: str, tmp_path: Path, outbox_statements: OutboxStatements
) -> None:
    redis = Redis.from_url(redis_url)
    async with a_world(tmp_path, database, redis) as world:
        await due_market(world)
        async with node_before(world.rpc_url) as node:
            world.rpc_url = node.address
            async with world.daemon() as daemon:
                await outbox_statements.taken()
                (action,) = await MarketMonitor(daemon.context()).run()
                assert action.ok
    await redis.aclose()
    # One statement that inserts, or makes a failed transaction pending again, counts as both.
    assert await outbox_statements.taken() == ["insert", "update", *SETTLED]
    assert node.requests.pop("getSignatureStatuses") > 0
    assert node.requests.pop("getTransaction") > 0
    # The configuration, the chain's time, the market, and the chain's time again for what was fetched.
    assert node.requests == {
        "getMultipleAccounts": 4,
        "getLatestBlockhash": 1,
        "simulateTransaction": 1,
        "getRecentPrioritizationFees": 1,
        "sendTransaction": 1,
    }

from __future__ import annotations

import pytest
from solders.compute_budget import set_compute_unit_limit
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests.integration.indexer.test_reconcile import (
    active,
    assert_true_to_the_chain,
    finalized,
    open_slot,
    purchase,
    reconciled,
    roll_back,
    settled,
)
from tests.integration.tasks.world import HOLDERS, TREASURY, World

MEMO = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
TRADES = 20
"""In one transaction: so many that the runtime truncates its logs."""


def sale(world: World, market_id: str, holder: Keypair, shares: int) -> Instruction:
    return world.program.sell_shares(
        user=holder.pubkey(),
        market=world.address(market_id),
        protocol_fee_wallet=TREASURY.pubkey(),
        outcome=True,
        shares_to_sell=shares,
        min_proceeds=0,
    )


async def trade_a_lot(world: World, market_id: str, holder: Keypair, *, indexed: bool = True) -> str:
    trades = [purchase(world, market_id, holder, target_cost=10**8 + 7 * n) for n in range(TRADES - 4)]
    trades += [sale(world, market_id, holder, 10**8 + n) for n in range(4)]
    return await world.act(holder, set_compute_unit_limit(1_400_000), *trades, indexed=indexed)


async def events_of(world: World, signature: str) -> int:
    return len(await world.fetch("select from trade_events where tx_signature = $1", signature))


@pytest.mark.parametrize("indexed", [True, False])
async def test_trades_that_the_logs_lack_are_inferred_to_the_unit(
    world: World, database_url: str, indexed: bool
) -> None:
    market_id = await active(world)
    await world.act(HOLDERS[1], purchase(world, market_id, HOLDERS[1]))
    signature = await trade_a_lot(world, market_id, HOLDERS[0], indexed=indexed)
    await world.act(HOLDERS[2], purchase(world, market_id, HOLDERS[2]))
    assert await events_of(world, signature) < TRADES
    recovered = (await reconciled(world)).recovered
    assert recovered + (await settled(world)).recovered == 1
    assert await events_of(world, signature) == TRADES
    await assert_true_to_the_chain(world, database_url)
    assert await world.fetch("select reason, resolved_at is not null from truncated_transactions") == [
        (None, True)
    ]
    assert await world.fetch("select distinct exact from trades") == [(True,)]
    assert (await reconciled(world)).recovered == 0


async def test_a_trade_among_so_many_memos_that_its_log_is_gone_is_inferred(
    world: World, database_url: str
) -> None:
    market_id = await active(world)
    before, after = [Instruction(MEMO, b"", [])] * 51, [Instruction(MEMO, b"to the moon", [])] * 3
    signature = await world.act(HOLDERS[0], *before, purchase(world, market_id, HOLDERS[0]), *after)
    assert await events_of(world, signature) == 0
    await finalized(world)
    await settled(world)
    assert await events_of(world, signature) == 1
    await assert_true_to_the_chain(world, database_url)


async def test_truncated_transactions_of_one_market_are_made_whole_one_after_the_other(
    world: World, database_url: str
) -> None:
    market_id = await active(world)
    for holder in HOLDERS[:3]:
        await trade_a_lot(world, market_id, holder, indexed=holder is HOLDERS[1])
    assert (await settled(world)).recovered + (await reconciled(world)).recovered == 3
    await assert_true_to_the_chain(world, database_url)


async def test_a_truncated_transaction_that_left_the_chain_leaves_the_index(
    world: World, database_url: str
) -> None:
    market_id = await active(world)
    await finalized(world)
    fork = await open_slot(world)
    signature = await trade_a_lot(world, market_id, HOLDERS[0])
    assert signature in await roll_back(world, fork)
    await settled(world)
    assert await world.fetch("select * from truncated_transactions") == []
    await assert_true_to_the_chain(world, database_url)


async def test_what_cannot_be_right_is_left_open_and_says_why(world: World) -> None:
    market_id = await active(world)
    await world.act(HOLDERS[1], purchase(world, market_id, HOLDERS[1]))
    signature = await trade_a_lot(world, market_id, HOLDERS[0])
    logged = await events_of(world, signature)
    await world.fetch(
        "update trades set shares = shares + 1000000 where tx_signature <> $1 returning id", signature
    )
    assert (await settled(world)).recovered == 0
    assert await events_of(world, signature) == logged
    assert await world.fetch("select reason, resolved_at from truncated_transactions") == [
        ("call 0 (buy_shares): it was logged otherwise", None)
    ]

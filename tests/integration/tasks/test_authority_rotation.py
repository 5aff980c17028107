"""The program gets another backend authority, and a daemon that has both keys goes on."""

from __future__ import annotations

import msgspec
import pytest
from solders.keypair import Keypair

from tests.integration.tasks.world import CREATOR, DISPUTE_PERIOD_SECONDS, PROGRAM_ID, World
from tests.integration.tasks.world import RESOLVER as NEXT
from zmartd.chain.accounts import GlobalConfig
from zmartd.chain.program_accounts import read_config
from zmartd.market.lifecycle import MarketState
from zmartd.tasks.authority import WrongAuthority
from zmartd.tasks.dry_run import dry_run
from zmartd.tasks.market_monitor import MarketMonitor


async def configuration(world: World) -> GlobalConfig:
    return await read_config(world.own.rpc, PROGRAM_ID)


async def name_in_the_program(world: World, key: Keypair) -> None:
    """What an upgrade of the program does: no instruction of it does."""
    present = await configuration(world)
    data = msgspec.structs.replace(present, backend_authority=key.pubkey()).encode().hex()
    await world.cheat("surfnet_setAccount", str(world.program.pdas.global_config()), {"data": data})

    async def is_named() -> bool:
        return (await configuration(world)).backend_authority == key.pubkey()

    await world.until(is_named)


async def lamports(world: World, key: Keypair) -> int:
    return (await world.own.rpc.balances_at_once([key.pubkey()]))[key.pubkey()]


async def test_a_daemon_with_both_keys_signs_with_the_one_that_the_program_names(world: World) -> None:
    markets = {await world.resolving(), await world.resolving()}
    await world.travel(DISPUTE_PERIOD_SECONDS + 61)
    context = world.own.context(next_authority=NEXT, batch_size=1)
    both = MarketMonitor(context)
    balance = await lamports(world, NEXT)

    (before,) = await both.run()
    assert before.ok
    assert await lamports(world, NEXT) == balance

    await name_in_the_program(world, NEXT)
    with pytest.raises(WrongAuthority, match=str(NEXT.pubkey())):
        await MarketMonitor(world.own.context(batch_size=1)).run()
    with pytest.raises(WrongAuthority, match=f"{CREATOR.pubkey()}"):
        await MarketMonitor(world.own.context(authority=None, next_authority=CREATOR)).run()
    (rehearsed,) = (await dry_run(both, context)).transactions
    assert rehearsed.failure is None
    (after,) = await both.run()
    assert after.ok
    assert {before.market_id, after.market_id} == markets
    assert await lamports(world, NEXT) < balance
    for market_id in markets:
        assert await world.states(market_id) == (MarketState.FINALIZED, MarketState.FINALIZED)

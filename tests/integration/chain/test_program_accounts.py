from __future__ import annotations

import asyncio

import aiohttp
import pytest
from msgspec import structs
from solders.pubkey import Pubkey

from tests.integration.chain.chain_nodes import Node
from tests.unit.embedded.demo.audited_market import ACCOUNT
from zmartd.chain.accounts import GlobalConfig, UserPosition
from zmartd.chain.pdas import Pdas
from zmartd.chain.program_accounts import (
    ProtocolNotInitialized,
    decode_account,
    find_config,
    find_market,
    read_config,
    read_config_and_market,
)
from zmartd.chain.rpc import Rpc
from zmartd.chain.wire import UndecodableData
from zmartd.embedded.localnet import Endpoints

PROGRAM, ANOTHER, ADMIN = Pubkey([7] * 32), Pubkey([8] * 32), Pubkey([9] * 32)
MARKET_ID = bytes(range(32))
MARKET = Pdas(PROGRAM).market(MARKET_ID)
MARKET_ACCOUNT = structs.replace(ACCOUNT, market_id=MARKET_ID)
CONFIG = GlobalConfig(
    admin=ADMIN,
    backend_authority=ADMIN,
    protocol_fee_wallet=ADMIN,
    protocol_fee_bps=300,
    resolver_reward_bps=200,
    liquidity_provider_fee_bps=500,
    proposal_approval_threshold=7_000,
    dispute_success_threshold=6_000,
    min_resolution_delay=86_400,
    dispute_period=259_200,
    min_resolver_reputation=8_000,
    is_paused=False,
    reserved=bytes(64),
    bump=255,
)


async def put(localnet: Endpoints, rpc: Rpc, address: Pubkey, data: bytes, owner: Pubkey = PROGRAM) -> None:
    """Make an account, and return when confirmed blocks show it."""
    update = {"lamports": 10**9, "data": data.hex(), "owner": str(owner)}
    body = {"jsonrpc": "2.0", "id": 1, "method": "surfnet_setAccount", "params": [str(address), update]}
    async with aiohttp.ClientSession() as session, session.post(localnet.rpc_url, json=body) as response:
        assert "error" not in await response.json()
    async with asyncio.timeout(120):
        while (found := await rpc.account(address)) is None or found.data != data:  # noqa: ASYNC110 - it is polled
            await asyncio.sleep(0.01)


async def test_a_market_and_the_configuration_are_read_at_one_slot_with_one_request(
    localnet: Endpoints, node: Node, rpc: Rpc
) -> None:
    await put(localnet, rpc, Pdas(PROGRAM).global_config(), CONFIG.encode())
    await put(localnet, rpc, MARKET, MARKET_ACCOUNT.encode() + bytes(40))
    node.requests.clear()
    config, market = await read_config_and_market(rpc, PROGRAM, MARKET)
    assert node.requests == {"getMultipleAccounts": 1}
    assert config == CONFIG == await read_config(rpc, PROGRAM)
    assert market is not None
    assert (market.id, market.address, market.account) == (MARKET_ID.hex(), MARKET, MARKET_ACCOUNT)
    found = await find_market(rpc, PROGRAM, MARKET)
    assert found is not None
    assert found.account == MARKET_ACCOUNT
    assert found.slot >= market.slot


async def test_what_is_not_on_the_chain_is_not_found(localnet: Endpoints, rpc: Rpc) -> None:
    assert await find_market(rpc, PROGRAM, MARKET) is None
    assert await find_config(rpc, PROGRAM) is None
    with pytest.raises(ProtocolNotInitialized) as refused:
        await read_config(rpc, PROGRAM)
    assert refused.value.details.program_id == str(PROGRAM)
    with pytest.raises(ProtocolNotInitialized):
        await read_config_and_market(rpc, PROGRAM, MARKET)
    await put(localnet, rpc, Pdas(PROGRAM).global_config(), CONFIG.encode())
    assert await read_config_and_market(rpc, PROGRAM, MARKET) == (CONFIG, None)


async def test_an_account_of_another_program_is_not_found(localnet: Endpoints, rpc: Rpc) -> None:
    """Anybody can pay for an account with these bytes, but only the program can own one."""
    await put(localnet, rpc, Pdas(PROGRAM).global_config(), CONFIG.encode(), owner=ANOTHER)
    await put(localnet, rpc, MARKET, MARKET_ACCOUNT.encode(), owner=ANOTHER)
    assert await find_config(rpc, PROGRAM) is None
    assert await find_market(rpc, PROGRAM, MARKET) is None


async def test_an_account_of_another_kind_cannot_be_decoded(localnet: Endpoints, rpc: Rpc) -> None:
    await put(localnet, rpc, MARKET, CONFIG.encode())
    with pytest.raises(UndecodableData):
        await find_market(rpc, PROGRAM, MARKET)
    account = await rpc.account(MARKET)
    assert decode_account(GlobalConfig, account, PROGRAM) == CONFIG
    with pytest.raises(UndecodableData):
        decode_account(UserPosition, account, PROGRAM)

import asyncio
from typing import Any

import aiohttp
import pytest
from solders.keypair import Keypair

from tests.integration.embedded.localnet.localnet_client import SOL, Chain
from zmartd.embedded.localnet import LocalnetSettings, running


async def status_of(chain: Chain, method: str) -> int:
    body = {"jsonrpc": "2.0", "id": 1, "method": method}
    async with chain.session.post(chain.endpoints.rpc_url, json=body) as response:
        return response.status


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_the_coming_requests_fail_as_asked_and_then_no_more(chain: Chain, status: int) -> None:
    await chain.call("zmartd_setFaults", {"rpc": {"failNext": 2, "status": status}})
    assert [await status_of(chain, "getSlot") for _ in range(3)] == [status, status, 200]


async def test_a_node_can_be_behind(chain: Chain) -> None:
    await chain.call("zmartd_setFaults", {"rpc": {"failNext": 1, "status": "unhealthy"}})
    assert await chain.error("getSlot") == {"code": -32005, "message": "Node is unhealthy"}
    assert await chain.call("getSlot") == 0


async def test_only_the_methods_named_fail(chain: Chain) -> None:
    await chain.call("zmartd_setFaults", {"rpc": {"failNext": 1, "methods": ["getBlockHeight"]}})
    assert await status_of(chain, "getSlot") == 200
    assert await status_of(chain, "getBlockHeight") == 503


async def test_a_share_of_requests_fails_the_same_way_for_the_same_seed(chain: Chain) -> None:
    seen = []
    for _ in range(2):
        await chain.call("zmartd_setFaults", {"rpc": {"failRate": 0.5, "seed": 3}})
        seen.append([await status_of(chain, "getSlot") for _ in range(20)])
    assert seen[0] == seen[1]
    assert set(seen[0]) == {200, 503}


async def test_an_answer_can_be_lost_after_the_work_was_done(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    transaction = await chain.transfer(wallet, friend, SOL)
    faults = {"failNext": 1, "after": True, "methods": ["sendTransaction"]}
    await chain.call("zmartd_setFaults", {"rpc": faults})
    with pytest.raises(AssertionError):
        await chain.send(transaction)
    assert await chain.balance(friend) == SOL
    assert (await chain.status(str(transaction.signatures[0])))["err"] is None


async def test_an_answer_may_never_come(chain: Chain) -> None:
    await chain.call("zmartd_setFaults", {"rpc": {"failNext": 1, "status": "timeout"}})
    answered, hanging = await asyncio.wait(two_questions(chain), return_when=asyncio.FIRST_COMPLETED)
    assert [one.result() for one in answered] == [0]
    assert await chain.call("getSlot") == 0
    (never,) = hanging
    assert not never.done()
    never.cancel()


def two_questions(chain: Chain) -> list[asyncio.Task[Any]]:
    """Of which the one that arrives first takes the next fault."""
    return [asyncio.create_task(chain.call("getSlot")) for _ in range(2)]


async def test_a_transaction_can_vanish_on_its_way(chain: Chain) -> None:
    wallet, friend = await chain.wallet(), Keypair().pubkey()
    await chain.call("zmartd_setFaults", {"rpc": {"loseNext": 1}})
    transaction = await chain.transfer(wallet, friend, SOL)
    signature = await chain.send(transaction)
    assert signature == str(transaction.signatures[0])
    assert await chain.status(signature) is None
    await chain.send(transaction)
    assert await chain.balance(friend) == SOL


async def test_faults_end_when_they_are_set_to_nothing(chain: Chain) -> None:
    await chain.call("zmartd_setFaults", {"rpc": {"failNext": 1000}})
    await chain.call("zmartd_setFaults", {})
    assert await status_of(chain, "getSlot") == 200


async def test_a_request_that_hangs_does_not_keep_the_localnet_from_stopping(still: LocalnetSettings) -> None:
    async with asyncio.timeout(120), aiohttp.ClientSession() as session:
        async with running(still) as endpoints:
            chain = Chain(endpoints, session)
            await chain.call("zmartd_setFaults", {"rpc": {"failNext": 1, "status": "timeout"}})
            _, (hanging,) = await asyncio.wait(two_questions(chain), return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(aiohttp.ClientError):
            await hanging

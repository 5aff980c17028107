"""Balances of many wallets, while coins move between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests.integration.chain.chain_nodes import Node
from zmartd.chain.rpc import ACCOUNTS_PER_REQUEST, BALANCE_READINGS, Rpc
from zmartd.clock import SystemClock
from zmartd.embedded.localnet import Endpoints, LocalnetSettings, running

COINS = 50_000_000
WALLETS = [Keypair.from_seed(bytes([number, 7] * 16)).pubkey() for number in range(ACCOUNTS_PER_REQUEST + 50)]
FIRST, LAST = WALLETS[0], WALLETS[-1]


class MovingCoins(Node):
    """Between two requests for balances the same coins go from the wallets of one to those of the other."""

    def __init__(
        self, url: str, session: aiohttp.ClientSession, holder: Pubkey = FIRST, other: Pubkey = LAST
    ) -> None:
        super().__init__(url, session)
        self._turn = asyncio.Lock()
        self._holder, self._other = holder, other

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body["method"] != "getMultipleAccounts":
            return await super().handle(request)
        async with self._turn:
            answer = await super().handle(request)
            await self.give(self._holder, 0)
            self._holder, self._other = self._other, self._holder
            await self.give(self._holder, COINS)
            return answer

    async def give(self, wallet: Pubkey, lamports: int) -> None:
        await self._call("surfnet_setAccount", str(wallet), {"lamports": lamports})
        await self._call("zmartd_advanceSlots", {"slots": 1})

    async def _call(self, method: str, *params: Any) -> None:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        async with self._session.post(self._url, json=body) as response:
            assert "result" in await response.json()


class PassingSlots(MovingCoins):
    """Any two requests for balances are answered for two slots."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        async with self._turn:
            answer = await Node.handle(self, request)
            if body["method"] == "getMultipleAccounts":
                await self._call("zmartd_advanceSlots", {"slots": 1})
            return answer


@asynccontextmanager
async def serving(node: Node) -> AsyncIterator[Rpc]:
    application = web.Application()
    application.router.add_post("/", node.handle)
    async with (
        TestServer(application, host="127.0.0.1") as server,
        Rpc(str(server.make_url("/")), clock=SystemClock()) as rpc,
    ):
        yield rpc


async def test_wallets_are_read_in_one_request_where_one_is_enough(
    rpc: Rpc, rich: Keypair, node: Node
) -> None:
    balances = await rpc.balances_at_once([rich.pubkey(), FIRST])
    assert balances == {rich.pubkey(): 10**15, FIRST: 0}
    assert node.requests["getMultipleAccounts"] == 1
    assert await rpc.balances_at_once([]) == {}


async def test_many_wallets_are_read_at_one_slot(tmp_path: Path) -> None:
    slow = LocalnetSettings(tmp_path / "chain", rpc_port=0, slot_milliseconds=10_000)
    async with (
        running(slow) as localnet,
        aiohttp.ClientSession() as session,
        serving(Node(localnet.rpc_url, session)) as rpc,
    ):
        assert await rpc.balances_at_once(WALLETS) == dict.fromkeys(WALLETS, 0)


async def test_coins_that_move_with_each_request_are_counted_once_at_most(localnet: Endpoints) -> None:
    async with aiohttp.ClientSession() as session:
        node = MovingCoins(localnet.rpc_url, session)
        await node.give(FIRST, COINS)
        async with serving(node) as rpc:
            balances = await rpc.balances_at_once(WALLETS)
    assert len(balances) == ACCOUNTS_PER_REQUEST
    assert sum(balance >= COINS for balance in balances.values()) <= 1
    assert node.requests["getMultipleAccounts"] == 2 * BALANCE_READINGS

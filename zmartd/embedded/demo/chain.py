"""What a demonstration does with the chain itself: a faucet, and a clock that can be moved forward."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiohttp import ClientSession
from solders.keypair import Keypair

from zmartd.errors import ZmartdError

_POLL_SECONDS = 0.1


class ChainRefused(ZmartdError):
    """The chain's RPC answered with an error."""

    code = "chain_refused"


class LocalChain:
    """The JSON-RPC methods of a local chain that no public one has."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def fund(self, wallets: Sequence[Keypair], lamports: int) -> None:
        """Give each wallet lamports and wait until everybody can see them."""
        addresses = [str(wallet.pubkey()) for wallet in wallets]
        await asyncio.gather(*(self._call("requestAirdrop", address, lamports) for address in addresses))
        confirmed = {"encoding": "base64", "commitment": "confirmed"}
        while None in (await self._call("getMultipleAccounts", addresses, confirmed))["value"]:  # noqa: ASYNC110 - the chain tells only who asks
            await asyncio.sleep(_POLL_SECONDS)

    async def travel(self, unix_seconds: int) -> None:
        """Move the chain's clock forward to this time."""
        await self._call("surfnet_timeTravel", {"absoluteTimestamp": unix_seconds * 1_000})

    async def _call(self, method: str, *params: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self._session.post(self._url, json=request) as response:
            answer = await response.json()
        if "error" in answer:
            raise ChainRefused(f"{method}: {answer['error'].get('message')}")
        return answer["result"]

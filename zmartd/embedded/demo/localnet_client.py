"""The localnet's RPC methods that the demonstration needs: its faucet, its clock, and balances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import ClientSession

from zmartd.embedded.demo.polling import gather_all, wait_for
from zmartd.errors import ZmartdError

_CONFIRMED = {"encoding": "base64", "commitment": "confirmed"}


class ChainRefused(ZmartdError):
    """The chain's RPC answered with an error."""

    code = "chain_refused"


class LocalnetClient:
    """A client of the localnet. Each method raises ChainRefused."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def fund(self, addresses: Sequence[str], lamports: int) -> None:
        """Airdrop to each address, and wait until the balances are confirmed. Raises WaitTimedOut."""
        before = await self.balances(addresses)
        await gather_all(*(self._call("requestAirdrop", address, lamports) for address in addresses))

        async def arrived() -> bool | None:
            now = await self.balances(addresses)
            return all(new >= old + lamports for old, new in zip(before, now, strict=True)) or None

        await wait_for(arrived, "the faucet's lamports did not arrive")

    async def balances(self, addresses: Sequence[str]) -> list[int]:
        """Lamports of each address, at most 100 of them."""
        answer = await self._call("getMultipleAccounts", list(addresses), _CONFIRMED)
        return [0 if account is None else account["lamports"] for account in answer["value"]]

    async def rent_lamports(self, size_bytes: int) -> int:
        """The lamports that make an account of this size exempt from rent."""
        return int(await self._call("getMinimumBalanceForRentExemption", size_bytes))

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

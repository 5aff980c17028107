"""The localnet as its wire shows it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import aiohttp
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from zmartd.embedded.localnet import Endpoints

SOL = 10**9


class Chain:
    """A JSON-RPC client that hides nothing: what the wire says is what the test sees."""

    def __init__(self, endpoints: Endpoints, session: aiohttp.ClientSession) -> None:
        self.endpoints = endpoints
        self.session = session

    async def post(self, body: Any) -> Any:
        """The parsed answer to a raw body."""
        data = body if isinstance(body, bytes) else None
        async with self.session.post(
            self.endpoints.rpc_url, data=data, json=None if data is not None else body
        ) as response:
            assert response.status == 200
            return await response.json()

    async def answer(self, method: str, *params: Any) -> dict[str, Any]:
        answer = await self.post({"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)})
        assert answer["jsonrpc"] == "2.0"
        assert answer["id"] == 7
        return dict(answer)

    async def call(self, method: str, *params: Any) -> Any:
        """The result. Fails the test when the answer is an error."""
        answer = await self.answer(method, *params)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    async def error(self, method: str, *params: Any) -> dict[str, Any]:
        """The error. Fails the test when there is none."""
        answer = await self.answer(method, *params)
        assert "result" not in answer, answer
        return dict(answer["error"])

    async def advance(self, slots: int = 1) -> None:
        """Complete slots."""
        await self.call("zmartd_advanceSlots", {"slots": slots})

    async def blockhash(self) -> Hash:
        value = (await self.call("getLatestBlockhash", {"commitment": "confirmed"}))["value"]
        return Hash.from_string(value["blockhash"])

    async def wallet(self, lamports: int = 10 * SOL) -> Keypair:
        """A new key with money, confirmed."""
        wallet = Keypair()
        await self.call("requestAirdrop", str(wallet.pubkey()), lamports)
        await self.advance()
        return wallet

    async def signed(
        self, wallet: Keypair, instructions: Sequence[Instruction], blockhash: Hash | None = None
    ) -> VersionedTransaction:
        message = MessageV0.try_compile(
            wallet.pubkey(), list(instructions), [], blockhash or await self.blockhash()
        )
        return VersionedTransaction(message, [wallet])

    async def transfer(
        self, wallet: Keypair, to: Pubkey, lamports: int, blockhash: Hash | None = None
    ) -> VersionedTransaction:
        return await self.signed(wallet, [pay(wallet, to, lamports)], blockhash)

    async def send(self, transaction: VersionedTransaction, **config: Any) -> str:
        """The signature of a transaction that was accepted."""
        return str(await self.call("sendTransaction", wire(transaction), {"encoding": "base64", **config}))

    async def send_error(self, transaction: VersionedTransaction, **config: Any) -> dict[str, Any]:
        return await self.error("sendTransaction", wire(transaction), {"encoding": "base64", **config})

    async def status(self, signature: str) -> Any:
        return (await self.call("getSignatureStatuses", [signature]))["value"][0]

    async def balance(self, address: Pubkey, commitment: str = "processed") -> int:
        return int((await self.call("getBalance", str(address), {"commitment": commitment}))["value"])


def wire(transaction: VersionedTransaction) -> str:
    return base64.b64encode(bytes(transaction)).decode()


def pay(wallet: Keypair, to: Pubkey, lamports: int) -> Instruction:
    return transfer(TransferParams(from_pubkey=wallet.pubkey(), to_pubkey=to, lamports=lamports))

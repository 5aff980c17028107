"""A person with a wallet, who knows nothing of zmartd but its public API."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Self

from aiohttp import ClientSession
from msgspec import Struct
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.transaction import Transaction

from zmartd.errors import ZmartdError

COMPUTE_BUDGET = Pubkey.from_string("ComputeBudget111111111111111111111111111111")


class ApiRefused(ZmartdError):
    """The API answered with an error."""

    code = "api_refused"

    def __init__(self, method: str, path: str, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(f"{method} {path}: {status} {body.get('code')}: {body.get('message')}")
        self.status = status
        self.error_code = str(body.get("code"))


class UnexpectedTransaction(ZmartdError):
    """The API built something else than what the wallet asked for, so the wallet does not sign it."""

    code = "unexpected_transaction"


class Landed(Struct, frozen=True):
    """A transaction that the chain has confirmed: its signature and its events, as the API tells them."""

    signature: str
    events: tuple[dict[str, Any], ...]


class Trader:
    """Signs in once, reads and writes as itself, and signs only transactions that it pays and asked for."""

    def __init__(
        self, name: str, wallet: Keypair, session: ClientSession, api: str, program_id: Pubkey
    ) -> None:
        self.name = name
        self._wallet = wallet
        self._session = session
        self._api = api
        self._program_id = program_id
        self._headers: dict[str, str] = {}

    @property
    def address(self) -> str:
        return str(self._wallet.pubkey())

    async def sign_in(self) -> Self:
        """Sign In With Solana: fetch a message, sign it, get a session. An earlier session is forgotten."""
        self._headers = {}
        challenge = await self.get("/api/auth/nonce", wallet=self.address)
        signature = self._wallet.sign_message(challenge["message"].encode())
        answer = await self.post(
            "/api/auth/login",
            {"message": challenge["message"], "signature": str(signature), "wallet": self.address},
        )
        self._headers = {"Authorization": f"Bearer {answer['token']}"}
        return self

    async def get(self, path: str, **query: str) -> Any:
        """The JSON of an answer. Raises ApiRefused."""
        async with self._session.get(self._api + path, params=query, headers=self._headers) as response:
            body = await response.json()
        if response.status >= 400:
            raise ApiRefused("GET", path, response.status, body)
        return body

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of an answer. Raises ApiRefused."""
        async with self._session.post(self._api + path, json=body or {}, headers=self._headers) as response:
            answer = await response.json()
        if response.status >= 400:
            raise ApiRefused("POST", path, response.status, answer)
        return answer

    async def carry_out(self, path: str, body: Mapping[str, Any] | None = None) -> Landed:
        """Ask for a transaction, sign it and see it confirmed. Raises ApiRefused, UnexpectedTransaction."""
        unsigned = await self.post(path, body)
        return await self.send(unsigned["transaction"])

    async def send(self, unsigned: str) -> Landed:
        """Sign a transaction in base64 and see it confirmed."""
        order = {"transaction": self._sign(unsigned)}
        answer = await self.post("/api/transactions", order)
        while "events" not in answer:  # 202: still under way; the same bytes may be sent again at will
            answer = await self.post("/api/transactions", order)
        return Landed(answer["signature"], tuple(answer["events"]))

    def _sign(self, unsigned: str) -> str:
        message = Transaction.from_bytes(base64.b64decode(unsigned)).message
        if message.header.num_required_signatures != 1 or message.account_keys[0] != self._wallet.pubkey():
            raise UnexpectedTransaction(f"{self.name} is not the only signer and payer of this transaction")
        programs = {message.account_keys[one.program_id_index] for one in message.instructions}
        if not programs <= {self._program_id, COMPUTE_BUDGET} or self._program_id not in programs:
            raise UnexpectedTransaction(f"this transaction calls {', '.join(map(str, programs))}")
        signed = Transaction([self._wallet], message, message.recent_blockhash)
        return base64.b64encode(bytes(signed)).decode()

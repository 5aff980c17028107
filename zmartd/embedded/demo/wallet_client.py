"""A client of the public API with a wallet of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from aiohttp import ClientSession
from msgspec import Struct
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from zmartd.embedded.demo.signing import sign_call
from zmartd.errors import ZmartdError


class ApiRefused(ZmartdError):
    """The API answered with an error."""

    code = "api_refused"

    def __init__(self, method: str, path: str, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(f"{method} {path}: {status} {body.get('code')}: {body.get('message')}")
        self.status = status


class ConfirmedTransaction(Struct, frozen=True):
    """A confirmed transaction: its signature and its events, as the API answers them."""

    signature: str
    events: tuple[dict[str, Any], ...]


class WalletClient:
    """Signs in, reads and writes as its wallet, and signs only the transactions that it asked for."""

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
        """As `open_session`."""
        await self.open_session()
        return self

    async def open_session(self) -> Mapping[str, Any]:
        """Sign In With Solana: fetch a message, sign it, get a session that replaces an earlier one.

        Returns the session as the API answers it. Raises ApiRefused.
        """
        self._headers = {}
        challenge = await self.get("/api/auth/nonce", wallet=self.address)
        signature = self._wallet.sign_message(challenge["message"].encode())
        session: Mapping[str, Any] = await self.post(
            "/api/auth/login",
            {"message": challenge["message"], "signature": str(signature), "wallet": self.address},
        )
        self._headers = {"Authorization": f"Bearer {session['token']}"}
        return session

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

    async def transact(self, path: str, body: Mapping[str, Any] | None = None) -> ConfirmedTransaction:
        """Request, sign and send a transaction, and wait for it. Raises ApiRefused, UnexpectedTransaction."""
        unsigned = await self.post(path, body)
        return await self.send(unsigned["transaction"], unsigned.get("protection"))

    async def send(self, unsigned: str, protection: str | None = None) -> ConfirmedTransaction:
        """Sign a transaction in base64, send it, and wait until it is confirmed.

        `protection` is the text that came with a trade.
        """
        order = {"transaction": sign_call(unsigned, self._wallet, self._program_id), "protection": protection}
        answer = await self.post("/api/transactions", order)
        while "events" not in answer:  # 202: not confirmed yet; the same bytes may be sent again
            answer = await self.post("/api/transactions", order)
        return ConfirmedTransaction(answer["signature"], tuple(answer["events"]))

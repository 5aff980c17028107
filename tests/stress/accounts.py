"""Sessions of wallets, which end while their owners listen."""

from __future__ import annotations

import json
import time

import aiohttp

from zmartd.http.auth.tokens import Tokens
from zmartd.realtime.messages import wallet_stream

ANSWER_SECONDS = 10.0


class Account:
    """One client's session of a wallet. Others may have sessions of the same wallet."""

    def __init__(self, wallet: str, tokens: Tokens) -> None:
        """`tokens`: those that the daemons accept."""
        self.wallet = wallet
        self.stream = wallet_stream(wallet)
        self._tokens = tokens
        self.begin()

    def begin(self) -> None:
        """Begin another session."""
        self.token, _ = self._tokens.issue(self.wallet, int(time.time()))
        self.was_to_end = False
        """Whether a sign-out was asked for, which may have been answered or not."""
        self.signed_out_at: float | None = None
        """When it was answered, by the wall clock."""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def ask(self) -> str:
        """The message that signs in on a WebSocket."""
        return json.dumps({"action": "auth", "token": self.token, "id": "auth"})

    async def sign_out(self, session: aiohttp.ClientSession, daemon: str) -> None:
        """End the session. `daemon`: the URL of whichever daemon. Raises ClientError, TimeoutError."""
        self.was_to_end = True
        patience = aiohttp.ClientTimeout(ANSWER_SECONDS)
        url = f"{daemon}/api/auth/logout"
        async with session.post(url, headers=self.headers, timeout=patience) as answer:
            if answer.status == 200:
                self.signed_out_at = time.time()

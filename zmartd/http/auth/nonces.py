"""Nonces for sign-in messages: issued here, good for one sign-in on any daemon, for a few minutes."""

from __future__ import annotations

from collections.abc import Callable

from redis.asyncio import Redis

from zmartd.http.auth.memory import memory_needed

_ANY_WALLET = b""


class Nonces:
    """Both methods raise SessionsUnavailable when Redis is away."""

    def __init__(self, redis: Redis, lifetime_seconds: int, new_nonce: Callable[[], str]) -> None:
        self._redis = redis
        self._lifetime_seconds = lifetime_seconds
        self._new_nonce = new_nonce

    async def issue(self, wallet: str | None) -> str:
        """A nonce that `wallet` may use, or anybody when it is None."""
        nonce = self._new_nonce()
        with memory_needed():
            await self._redis.set(_key(nonce), wallet or _ANY_WALLET, ex=self._lifetime_seconds)
        return nonce

    async def spend(self, nonce: str, wallet: str) -> bool:
        """Use up a nonce. Whether it was one that had been issued to `wallet`, and not been used."""
        with memory_needed():
            issued_to = await self._redis.getdel(_key(nonce))
        return issued_to in {_ANY_WALLET, wallet.encode()}


def _key(nonce: str) -> str:
    return f"auth:nonce:{nonce}"

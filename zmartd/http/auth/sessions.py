"""Who is signed in: a token that is valid and has not been revoked. Redis knows the revoked ones."""

from __future__ import annotations

from redis.asyncio import Redis

from zmartd.clock import Clock
from zmartd.http.auth.errors import BadToken
from zmartd.http.auth.memory import memory_needed
from zmartd.http.auth.tokens import LEEWAY_SECONDS, Session, Tokens


class Sessions:
    """Opens, recognises, renews and ends sessions. Every method raises SessionsUnavailable without Redis:
    then nobody is recognised, since a revoked token must not come back to life.
    """

    def __init__(self, tokens: Tokens, redis: Redis, clock: Clock) -> None:
        self._tokens = tokens
        self._redis = redis
        self._clock = clock

    def open(self, wallet: str) -> tuple[str, Session]:
        """A token for a wallet that has proved itself, and what it says."""
        return self._tokens.issue(wallet)

    async def recognise(self, token: str) -> Session:
        """The session of a token. Raises BadToken, AuthExpired."""
        session = self._tokens.read(token)
        with memory_needed():
            revoked = await self._redis.exists(_key(session))
        if revoked:
            raise BadToken("The session has ended; sign in again.")
        return session

    async def renew(self, session: Session) -> tuple[str, Session]:
        """A new token in place of that of `session`. Of two renewals at once one raises BadToken."""
        if not await self._revoke(session):
            raise BadToken("The session has ended; sign in again.")
        return self._tokens.issue(session.wallet)

    async def end(self, session: Session) -> None:
        """Revoke the token of `session` for as long as it would be valid."""
        await self._revoke(session)

    async def _revoke(self, session: Session) -> bool:
        """Whether this call, and none before it, revoked the token."""
        seconds = max(1, session.expires_at + 2 * LEEWAY_SECONDS - int(self._clock.time()))
        with memory_needed():
            return bool(await self._redis.set(_key(session), b"", nx=True, ex=seconds))


def _key(session: Session) -> str:
    return f"auth:revoked:{session.token_id}"

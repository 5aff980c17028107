"""Who is signed in: a token that is valid and has not been revoked. Redis knows the revoked ones."""

from __future__ import annotations

import asyncio

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
        self._revocations = _Revocations(redis)
        self._clock = clock

    def open(self, wallet: str) -> tuple[str, Session]:
        """A token for a wallet that has proved itself, and what it says."""
        return self._tokens.issue(wallet)

    async def recognise(self, token: str) -> Session:
        """The session of a token. Raises BadToken, AuthExpired."""
        session = self._tokens.read(token)
        with memory_needed():
            revoked = await self._revocations.include(_key(session))
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


class _Question:
    """Keys that Redis is asked about at once, and the answer: those that are there."""

    __slots__ = ("answer", "keys")

    def __init__(self) -> None:
        self.keys: dict[str, None] = {}
        self.answer: asyncio.Task[set[str]]


class _Revocations:
    """Whether keys are in Redis. All requests of one turn of the event loop share a question."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._next: _Question | None = None

    async def include(self, key: str) -> bool:
        """Whether `key` is there, at some time after this was called. Raises what Redis raises."""
        question = self._next
        if question is None:
            question = self._next = _Question()
            question.answer = asyncio.create_task(self._ask(question), name="revocations")
            # Whoever asked may be gone: an error is theirs, and nobody else has to look at it.
            question.answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        question.keys[key] = None
        return key in await asyncio.shield(question.answer)

    async def _ask(self, question: _Question) -> set[str]:
        self._next = None  # whoever comes from now on belongs to the next one
        keys = list(question.keys)
        found = await self._redis.mget(keys)
        return {key for key, value in zip(keys, found, strict=True) if value is not None}


def _key(session: Session) -> str:
    return f"auth:revoked:{session.token_id}"

"""Sessions: who is signed in, with which token.

A session begins with a sign-in. Each renewal replaces its token. It ends when it is signed out, when all
sessions of its wallet are, when its token expires, or when it reaches the maximum age.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from aiohttp import web

from zmartd.clock import Clock
from zmartd.http.auth import legacy_header
from zmartd.http.auth.revocations import Revocations
from zmartd.http.auth.tokens import LEEWAY_SECONDS, Tokens
from zmartd.http.errors.auth import BadToken, Unauthorized
from zmartd.http.kit.identity import Session
from zmartd.store.revocations import EVERYTHING


class Sessions:
    """Opens, recognises, renews and ends sessions.

    Every coroutine raises SessionsUnavailable while revocations cannot be read or stored.
    """

    def __init__(self, tokens: Tokens, revocations: Revocations, clock: Clock) -> None:
        self._tokens = tokens
        self._revocations = revocations
        self._clock = clock

    async def begin(self, wallet: str) -> tuple[str, Session]:
        """The token and session of a wallet that has just signed in.

        It begins after the last sign-out of that wallet, also where the clocks of the daemons differ.
        """
        signed_out = await self._revocations.find(_of_wallet(wallet))
        return self.open(wallet, signed_out.get(_of_wallet(wallet), 0))

    def open(self, wallet: str, not_before: int = 0) -> tuple[str, Session]:
        """The token and session that begin now, or at `not_before` if that is later."""
        return self._tokens.issue(wallet, max(int(self._clock.time()), not_before))

    def read(self, token: str) -> Session:
        """The session of a token, which may have ended meanwhile. Raises BadToken, AuthExpired."""
        return self._tokens.read(token)

    async def recognise(self, token: str) -> Session:
        """The session of a token. Raises BadToken, AuthExpired."""
        session = self.read(token)
        of_session, of_wallet = _of_session(session), _of_wallet(session.wallet)
        revoked = await self._revocations.find(of_session, of_wallet)
        if revoked and (
            session.renewals < revoked.get(of_session, 0) or session.began_at < revoked.get(of_wallet, 0)
        ):
            raise _ended()
        return session

    async def recognise_signer(self, wallet: str, signed_at: float) -> None:
        """Raises BadToken for a legacy header that was signed before its wallet last signed out everywhere.

        The wallet's clock may have been ahead, so the earliest possible time counts.
        """
        revoked = await self._revocations.find(_of_wallet(wallet))
        if signed_at - legacy_header.MAX_AHEAD_SECONDS < revoked.get(_of_wallet(wallet), 0):
            raise _ended()

    async def renew(self, session: Session) -> tuple[str, Session]:
        """The next token of `session`, which revokes the one before it.

        Of two concurrent renewals one raises BadToken. Raises SessionOver at the maximum age.
        """
        token, renewed = self._tokens.renew(session)
        if not await self._revocations.revoke(_of_session(session), renewed.renewals, renewed.expires_at):
            raise _ended()
        return token, renewed

    async def end(self, session: Session) -> None:
        """End `session`, whichever of its tokens is the valid one."""
        until = self._clock.time() + self._tokens.lifetime_seconds
        await self._revocations.revoke(_of_session(session), EVERYTHING, until)

    async def end_all(self, session: Session) -> None:
        """End every session of the wallet of `session`, also those begun on daemons whose clock is ahead."""
        now = self._clock.time()
        before = max(int(now) + LEEWAY_SECONDS, session.began_at) + 1
        until = before + max(
            self._tokens.lifetime_seconds, legacy_header.MAX_AGE_SECONDS + legacy_header.MAX_AHEAD_SECONDS
        )
        await self._revocations.revoke(_of_wallet(session.wallet), before, until)

    def expired(self, sessions: Collection[Session]) -> dict[Session, Unauthorized]:
        """Those of `sessions` that have expired, with the error that says why."""
        now = self._clock.time()
        return {one: self._tokens.expiry_error(one) for one in sessions if one.expires_at <= now}

    async def signed_out(
        self, sessions: Collection[Session], timeout_seconds: float
    ) -> dict[Session, Unauthorized]:
        """Those of `sessions` that were ended, read with one query. A renewed session has not ended."""
        names = {name for one in sessions for name in (_of_session(one), _of_wallet(one.wallet))}
        revoked = await self._revocations.find_many(names, timeout_seconds)
        if not revoked:
            return {}
        return {
            one: _ended()
            for one in sessions
            if revoked.get(_of_session(one)) == EVERYTHING
            or one.began_at < revoked.get(_of_wallet(one.wallet), 0)
        }


SESSIONS: Final[web.AppKey[Sessions]] = web.AppKey("sessions")


def _of_session(session: Session) -> str:
    return f"session:{session.session_id}"


def _of_wallet(wallet: str) -> str:
    return f"wallet:{wallet}"


def _ended() -> BadToken:
    return BadToken("The session has ended; sign in again.")

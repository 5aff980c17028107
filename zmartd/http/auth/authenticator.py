"""Authenticates callers by their Authorization header."""

from __future__ import annotations

from zmartd.clock import Clock
from zmartd.http.auth import legacy_header
from zmartd.http.auth.sessions import Sessions
from zmartd.http.errors.auth import BadMessage, SessionsUnavailable, Unauthorized
from zmartd.http.kit.identity import Credential, Identity
from zmartd.store.postgres.rls import Caller

BEARER = "Bearer"


class Authenticator:
    """Accepts bearer tokens, and with `accepts_legacy` the signed header of the earlier frontend."""

    def __init__(self, sessions: Sessions, accepts_legacy: bool, clock: Clock) -> None:
        self._sessions = sessions
        self._accepts_legacy = accepts_legacy
        self._clock = clock

    async def identify(self, authorization: str) -> Identity:
        """The identity that a header proves. That of a bad header is anonymous, with `refused` set."""
        scheme, _, credentials = authorization.partition(" ")
        try:
            if scheme.lower() == BEARER.lower():
                session = await self._sessions.recognise(credentials.strip())
                return Identity(Caller(session.wallet), Credential.SESSION, session)
            if scheme == legacy_header.SCHEME and self._accepts_legacy:
                wallet, signed_at = legacy_header.verify(credentials, self._clock.time())
                await self._sessions.recognise_signer(wallet, signed_at)
                return Identity(Caller(wallet), Credential.LEGACY)
        except (Unauthorized, SessionsUnavailable) as error:
            return Identity(refused=error)
        return Identity(
            refused=BadMessage(
                "Send the Authorization header as `Bearer <token>`, with the token of POST /api/auth/login."
            )
        )

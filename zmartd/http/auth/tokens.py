"""Session tokens: JSON Web Tokens (RFC 7519), signed with HMAC-SHA256 only."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jwt

from zmartd.clock import Clock
from zmartd.config import AuthSettings
from zmartd.http.auth.signing_secrets import signing_secrets
from zmartd.http.errors.auth import AuthExpired, BadToken, SessionOver
from zmartd.http.kit.identity import Session
from zmartd.market.ids import is_address

ALGORITHM = "HS256"
MAX_TOKEN_LENGTH = 2_048
_CACHE_SIZE = 8_192
LEEWAY_SECONDS = 60
"""How far the clocks of two daemons may differ. What differs by more is reported by their `/health`."""


class Tokens:
    """Signs tokens with the first secret, and reads tokens signed with any of them.

    Tokens for another `audience` are refused. Raises ConfigError as `signing_secrets` does.
    """

    def __init__(
        self, settings: AuthSettings, audience: str, clock: Clock, new_session_id: Callable[[], str]
    ) -> None:
        self._secrets = signing_secrets(settings)
        self._audience = audience
        self.lifetime_seconds = settings.token_seconds
        self._session_seconds = settings.session_seconds
        self._clock = clock
        self._new_session_id = new_session_id
        # Exceptions are not cached: invalid tokens take no room.
        self._cached_verify = lru_cache(maxsize=_CACHE_SIZE)(self._verify)

    def rotate(self, settings: AuthSettings) -> None:
        """Use these secrets from now on. Raises ConfigError as `signing_secrets` does."""
        self._secrets = signing_secrets(settings)
        self._cached_verify.cache_clear()

    def issue(self, wallet: str, began_at: int) -> tuple[str, Session]:
        """The first token of a new session of `wallet`, and the session."""
        return self._token(wallet, self._new_session_id(), began_at, 0)

    def renew(self, session: Session) -> tuple[str, Session]:
        """The next token of `session`, and the renewed session. Raises SessionOver."""
        if self._clock.time() >= session.began_at + self._session_seconds:
            raise SessionOver
        return self._token(session.wallet, session.session_id, session.began_at, session.renewals + 1)

    def read(self, token: str) -> Session:
        """The session of a token, whether or not it was revoked. Raises BadToken, AuthExpired."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise BadToken
        session = self._cached_verify(token)
        now = self._clock.time()
        if session.issued_at > now + LEEWAY_SECONDS:
            raise BadToken
        if session.expires_at <= now - LEEWAY_SECONDS:
            raise self.expiry_error(session)
        return session

    def expiry_error(self, session: Session) -> AuthExpired:
        """SessionOver for an expired session at its maximum age; otherwise its token was not renewed."""
        if session.expires_at >= session.began_at + self._session_seconds:
            return SessionOver()
        return AuthExpired("The session token has expired; sign in again.")

    def _token(self, wallet: str, session_id: str, began_at: int, renewals: int) -> tuple[str, Session]:
        now = int(self._clock.time())
        session = Session(wallet, session_id, began_at, renewals, now, self._end(now, began_at))
        claims = {
            "walletAddress": wallet,
            "sub": wallet,
            "aud": self._audience,
            "iat": now,
            "exp": session.expires_at,
            "jti": f"{session_id}-{renewals}",
            "sid": session_id,
            "auth_time": began_at,
            "renewals": renewals,
        }
        return jwt.encode(claims, self._secrets[0], ALGORITHM), session

    def _end(self, issued_at: int, began_at: int) -> int:
        return min(issued_at + self.lifetime_seconds, began_at + self._session_seconds)

    def _verify(self, token: str) -> Session:
        for secret in self._secrets:
            try:
                claims = jwt.decode(
                    token,
                    secret,
                    algorithms=[ALGORITHM],
                    audience=self._audience,
                    # `read` compares times, with the clock that was passed in.
                    options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
                )
                return self._session(claims)
            except jwt.InvalidSignatureError:
                continue
            except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
                raise BadToken from error
        raise BadToken

    def _session(self, claims: dict[str, Any]) -> Session:
        wallet, session_id = claims.get("sub"), claims.get("sid")
        began_at, renewals = claims.get("auth_time"), claims.get("renewals")
        issued_at, expires_at = claims.get("iat"), claims.get("exp")
        if (
            isinstance(wallet, str)
            and is_address(wallet)
            and claims.get("walletAddress") == wallet
            and isinstance(session_id, str)
            and session_id
            and type(began_at) is int
            and type(renewals) is int
            and type(issued_at) is int
            and type(expires_at) is int
        ):
            # Lowering the settings shortens older tokens too, because revocations are not kept any longer.
            expires_at = min(expires_at, self._end(issued_at, began_at))
            return Session(wallet, session_id, began_at, renewals, issued_at, expires_at)
        raise BadToken

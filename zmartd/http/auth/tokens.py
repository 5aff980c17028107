"""Session tokens: JSON Web Tokens, signed with HMAC-SHA256 and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jwt
from msgspec import Struct

from zmartd.clock import Clock
from zmartd.config import Auth, ConfigError
from zmartd.http.auth.errors import AuthExpired, BadToken
from zmartd.market.ids import is_address

ALGORITHM = "HS256"
MIN_SECRET_LENGTH = 32
MAX_TOKEN_LENGTH = 2_048
_REMEMBERED = 8_192
LEEWAY_SECONDS = 5
"""By how much the clocks of two daemons may differ."""


class Session(Struct, frozen=True):
    """What a valid token says: this wallet is signed in until `expires_at` (unix seconds)."""

    wallet: str
    token_id: str
    issued_at: int
    expires_at: int


class Tokens:
    """Issues tokens with the present secret; reads those of the present and the previous one.

    Raises ConfigError when a secret is too short to keep anybody from forging tokens.
    """

    def __init__(self, settings: Auth, clock: Clock, new_token_id: Callable[[], str]) -> None:
        secret, previous = settings.jwt_secret.reveal(), settings.jwt_secret_previous.reveal()
        self._secrets = (secret, previous) if previous else (secret,)
        problems = [
            f"auth.{name}: it has {len(value)} characters and needs at least {MIN_SECRET_LENGTH}; "
            "`openssl rand -hex 32` makes one"
            for name, value in zip(("jwt_secret", "jwt_secret_previous"), self._secrets, strict=False)
            if len(value) < MIN_SECRET_LENGTH
        ]
        if problems:
            raise ConfigError(problems)
        self._lifetime_seconds = settings.token_seconds
        self._clock = clock
        self._new_token_id = new_token_id
        # Only what was verified is remembered: who sends nonsense finds no room there.
        self._said = lru_cache(maxsize=_REMEMBERED)(self._verified)

    def issue(self, wallet: str) -> tuple[str, Session]:
        """A new token for `wallet`, and what it says."""
        now = int(self._clock.time())
        session = Session(wallet, self._new_token_id(), now, now + self._lifetime_seconds)
        claims = {
            "walletAddress": wallet,
            "sub": wallet,
            "iat": session.issued_at,
            "exp": session.expires_at,
            "jti": session.token_id,
        }
        return jwt.encode(claims, self._secrets[0], ALGORITHM), session

    def read(self, token: str) -> Session:
        """What a token says. Raises BadToken, AuthExpired."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise BadToken
        session = self._said(token)
        now = self._clock.time()
        if session.issued_at > now + LEEWAY_SECONDS:
            raise BadToken
        if session.expires_at <= now - LEEWAY_SECONDS:
            raise AuthExpired("The session token has expired; sign in again.")
        return session

    def _verified(self, token: str) -> Session:
        for secret in self._secrets:
            try:
                claims = jwt.decode(
                    token,
                    secret,
                    algorithms=[ALGORITHM],
                    # Times are compared in `read`, with the clock that was passed in.
                    options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
                )
                return _session(claims)
            except jwt.InvalidSignatureError:
                continue
            except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
                raise BadToken from error
        raise BadToken


def _session(claims: dict[str, Any]) -> Session:
    wallet, token_id = claims.get("sub"), claims.get("jti")
    issued_at, expires_at = claims.get("iat"), claims.get("exp")
    if (
        isinstance(wallet, str)
        and is_address(wallet)
        and claims.get("walletAddress") == wallet
        and isinstance(token_id, str)
        and token_id
        and type(issued_at) is int
        and type(expires_at) is int
    ):
        return Session(wallet, token_id, issued_at, expires_at)
    raise BadToken

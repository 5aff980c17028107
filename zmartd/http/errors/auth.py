"""Why a caller is not believed."""

from __future__ import annotations

from zmartd.errors import ZmartdError


class Unauthorized(ZmartdError):
    """The caller has not proved who it is."""

    code = "auth_failed"


class AuthMissing(Unauthorized):
    """This needs a signed-in wallet: POST /api/auth/login, then send `Authorization: Bearer <token>`."""

    code = "auth_missing"


class BadSignature(Unauthorized):
    """The signature is not the wallet's ed25519 signature of exactly this message."""

    code = "auth_bad_signature"


class AuthExpired(Unauthorized):
    """This credential is no longer, or not yet, valid; sign in again."""

    code = "auth_expired"


class SessionOver(AuthExpired):
    """The session is as old as a session may become; sign in again with your wallet."""

    code = "auth_session_over"


class BadMessage(Unauthorized):
    """The signed message is not one that signs in here; GET /api/auth/nonce gives one that is."""

    code = "auth_bad_message"


class BadToken(Unauthorized):
    """The session token is not valid here; sign in again."""

    code = "auth_bad_token"


class SessionRequired(Unauthorized):
    """A signed header can be replayed and so moves no money; sign in with POST /api/auth/login."""

    code = "auth_session_required"


class TooManyAttempts(ZmartdError):
    """Too many sign-ins within a minute; wait, then try again."""

    code = "auth_too_many_attempts"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(retry_after_seconds=retry_after_seconds)


class SessionsUnavailable(ZmartdError):
    """The database is away, so nobody can be recognised for the moment; try again soon."""

    code = "auth_unavailable"

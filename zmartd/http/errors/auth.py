"""Errors of authentication."""

from __future__ import annotations

from zmartd.errors import DetailedError, RetryDetails, ZmartdError
from zmartd.realtime.frame_data import AboutMessage


class Unauthorized(ZmartdError):
    """Authentication failed: sign in, then send `Authorization: Bearer <token>`."""

    code = "auth_failed"


class AuthMissing(Unauthorized):
    """Sign in first: POST /api/auth/login, then send `Authorization: Bearer <token>`."""

    code = "auth_missing"


class BadSignature(Unauthorized):
    """The signature is not the wallet's ed25519 signature of this message: sign its exact UTF-8 bytes, or
    send the bytes that the wallet signed as signed_message.
    """

    code = "auth_bad_signature"


class AuthExpired(Unauthorized):
    """This credential has expired, or is not valid yet; sign in again."""

    code = "auth_expired"


class SessionOver(AuthExpired):
    """The session has reached its maximum age; sign in again with your wallet."""

    code = "auth_session_over"


class BadMessage(Unauthorized):
    """The signed message is not a valid sign-in message; get one from GET /api/auth/nonce."""

    code = "auth_bad_message"


class BadToken(Unauthorized):
    """The session token is not valid; sign in again."""

    code = "auth_bad_token"


class SessionRequired(DetailedError[AboutMessage], Unauthorized):
    """This needs a session, because a signed header can be replayed: sign in with POST /api/auth/login."""

    code = "auth_session_required"

    def __init__(self, field: str, message: str | None = None) -> None:
        """`field`: the key, the parameter or the header that needs one."""
        super().__init__(AboutMessage(field=field), message)


class TooManyAttempts(DetailedError[RetryDetails]):
    """Too many attempts to sign in within a minute; wait as long as Retry-After says, then try again."""

    code = "auth_too_many_attempts"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(RetryDetails(retry_after_seconds))


class SessionsUnavailable(ZmartdError):
    """Sessions cannot be checked, because the database is unavailable; try again soon."""

    code = "auth_unavailable"

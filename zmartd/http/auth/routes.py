"""/api/auth: a nonce to sign, a session for it, a newer token, and the end of one session or of all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

import asyncpg
from asyncpg import Connection
from msgspec import UNSET, Meta, Struct, UnsetType, field

from zmartd.errors import ZmartdError
from zmartd.http.auth import sign_in
from zmartd.http.auth.sessions import SESSIONS
from zmartd.http.auth.sign_in import SIGN_IN
from zmartd.http.errors.auth import BadMessage, SessionsUnavailable, TooManyAttempts, Unauthorized
from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit import keys
from zmartd.http.kit.client_address import client_of
from zmartd.http.kit.fields import Time, Wallet
from zmartd.http.kit.identity import Session
from zmartd.http.kit.operation import Access, Call, Operation, Quota
from zmartd.log import get_logger
from zmartd.market.iso_time import iso_time
from zmartd.store import users
from zmartd.store.postgres.rls import Caller

MAX_BODY_BYTES = 16_384
PROFILE_PATIENCE_SECONDS = 1.0
"""For so long a session waits for the wallet's profile."""

log = get_logger(__name__)

SignedText = Annotated[
    str, Meta(min_length=1, max_length=4_096, description="the text that was signed, 1 to 4096 characters")
]
SignatureText = Annotated[
    str, Meta(min_length=1, max_length=128, description="64 bytes in base58 (or base64): the signature")
]
Signer = Annotated[Wallet | None, Meta(description="the base58 address of a wallet")]
Domain = Annotated[str | None, Meta(description="the domain to sign in on, with its port if any")]


class NonceQuery(Struct, frozen=True):
    wallet: Signer = None
    domain: Domain = None


class NonceBody(Struct, frozen=True, kw_only=True):
    """`message` is there when the wallet was given: sign its UTF-8 bytes as they are."""

    nonce: str
    """Goes into the message to sign, and is good for one sign-in."""
    domain: str
    """The domain to name in the message."""
    domains: tuple[str, ...]
    """All domains that a message may name."""
    chain_id: str
    """The Chain ID that a message may name: the cluster that the daemon serves."""
    expires_at: Time
    """When the nonce stops being accepted."""
    message: str | UnsetType = UNSET
    """The whole message to sign; left out where no wallet was given."""


class LoginRequest(Struct, frozen=True):
    ALIASES: ClassVar[dict[str, str]] = {"publicKey": "wallet", "walletAddress": "wallet"}

    message: SignedText
    signature: SignatureText
    wallet: Signer = None


class SessionBody(Struct, frozen=True, kw_only=True):
    """A session: send `token` as `Authorization: Bearer <token>`, for `expiresIn` seconds."""

    success: bool = True
    """Always true: a refusal is an error."""
    token: str
    """The session's JWT."""
    wallet: str
    """The address of the wallet that has signed in."""
    wallet_address: str = field(name="walletAddress")
    """The same as wallet, under the frontend's name for it."""
    expires_in: int = field(name="expiresIn")
    """The seconds from the token's issue to its end."""
    expires_at: Time = field(name="expiresAt")
    """When the token stops being accepted."""
    message: str
    """What was done, in words."""


class LogoutBody(Struct, frozen=True):
    success: bool
    """Always true: a refusal is an error."""
    message: str
    """What was done, in words."""


async def nonce(call: Call[NonceQuery]) -> NonceBody:
    """What to put into a sign-in message, and the message itself for ?wallet=."""
    query = call.input
    service = call.app[SIGN_IN]
    challenge = service.challenge(query.wallet, query.domain)
    return NonceBody(
        nonce=challenge.nonce,
        domain=challenge.domain,
        domains=service.domains,
        chain_id=service.cluster,
        expires_at=iso_time(challenge.expires_at),
        message=challenge.message or UNSET,
    )


async def login(call: Call[LoginRequest]) -> SessionBody:
    """A session for a signed sign-in message."""
    body = call.input
    if body.wallet is None:
        _require_address(body.message)
    wallet = await call.app[SIGN_IN].verify(
        body.message, body.signature, body.wallet, client_of(call.request)
    )
    await _remember(call, wallet, users.sign_in)
    return _session_body(*await call.app[SESSIONS].begin(wallet), "Signed in.")


async def refresh(call: Call[None]) -> SessionBody:
    """A new token in exchange for the one sent, which is revoked.

    A session cannot be renewed beyond its greatest age: then its wallet has to sign in again.
    """
    token, session = await call.app[SESSIONS].renew(call.session)
    await _remember(call, session.wallet, users.touch)
    return _session_body(token, session, "Session renewed.")


async def logout(call: Call[None]) -> LogoutBody:
    """The session is over, for every daemon and every open WebSocket."""
    await call.app[SESSIONS].end(call.session)
    return LogoutBody(success=True, message="Signed out.")


async def logout_everywhere(call: Call[None]) -> LogoutBody:
    """All sessions of the wallet are over, whichever device began them."""
    await call.app[SESSIONS].end_all(call.session)
    return LogoutBody(success=True, message="Signed out everywhere.")


async def _remember(call: Call[Any], wallet: str, write: Callable[[Connection, str], Awaitable[Any]]) -> None:
    """Write into the wallet's profile that it was here. Nobody is kept out for what cannot be written."""
    try:
        async with (
            asyncio.timeout(PROFILE_PATIENCE_SECONDS),
            call.app[keys.DATABASE].caller(Caller(wallet)) as connection,
        ):
            await write(connection, wallet)
    except (ZmartdError, asyncpg.PostgresError, TimeoutError) as error:
        log.warning("auth.unremembered", wallet=wallet, reason=repr(error))


def _require_address(message: str) -> None:
    """Without `wallet` the message has to say who signs in."""
    try:
        sign_in.read(message)
    except BadMessage as error:
        raise InvalidRequest(Problem("message", f"does not say whose it is: {error.message}")) from error


def _session_body(token: str, session: Session, message: str) -> SessionBody:
    return SessionBody(
        token=token,
        wallet=session.wallet,
        wallet_address=session.wallet,
        expires_in=session.expires_at - session.issued_at,
        expires_at=iso_time(datetime.fromtimestamp(session.expires_at, UTC)),
        message=message,
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/auth/nonce",
        handler=nonce,
        summary="What to put into a sign-in message",
        tag="auth",
        query=NonceQuery,
        answers={200: NonceBody},
        quota=Quota.SIGN_INS,
    ),
    Operation(
        method="POST",
        path="/api/auth/login",
        handler=login,
        summary="Sign in with a signed message",
        tag="auth",
        body=LoginRequest,
        max_body_bytes=MAX_BODY_BYTES,
        answers={200: SessionBody},
        quota=Quota.SIGN_INS,
        errors=(Unauthorized, TooManyAttempts, SessionsUnavailable),
    ),
    Operation(
        method="POST",
        path="/api/auth/refresh",
        handler=refresh,
        summary="Exchange a session for a newer one",
        tag="auth",
        answers={200: SessionBody},
        access=Access.SESSION,
        is_secret=True,
    ),
    Operation(
        method="POST",
        path="/api/auth/logout",
        handler=logout,
        summary="End a session",
        tag="auth",
        answers={200: LogoutBody},
        access=Access.SESSION,
        is_secret=True,
    ),
    Operation(
        method="POST",
        path="/api/auth/logout-everywhere",
        handler=logout_everywhere,
        summary="End all sessions of a wallet",
        tag="auth",
        answers={200: LogoutBody},
        access=Access.SESSION,
        is_secret=True,
    ),
)

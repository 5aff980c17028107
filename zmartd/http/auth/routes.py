"""The routes of /api/auth: nonces, sign-in, renewal, sign-out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

import asyncpg
from asyncpg import Connection
from msgspec import UNSET, Meta, Struct, UnsetType, field

from zmartd.errors import ZmartdError
from zmartd.http.auth import sign_in, siws
from zmartd.http.auth.offchain_message import MAX_PREAMBLE_BYTES
from zmartd.http.auth.sessions import SESSIONS
from zmartd.http.auth.sign_in import SIGN_IN
from zmartd.http.errors.auth import BadMessage, SessionsUnavailable, TooManyAttempts, Unauthorized
from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit import earlier_answers, earlier_names, keys
from zmartd.http.kit.client_address import client_of
from zmartd.http.kit.earlier_names import DEPRECATED
from zmartd.http.kit.fields import Base64, ServerTime, Wallet
from zmartd.http.kit.identity import Session
from zmartd.http.kit.operation import Access, Call, Operation, Quota
from zmartd.log import get_logger
from zmartd.market.iso_time import iso_time
from zmartd.store import users
from zmartd.store.postgres.rls import Caller

MAX_BODY_BYTES = 16_384
PROFILE_TIMEOUT_SECONDS = 1.0
"""How long a sign-in waits for the update of the wallet's profile."""

log = get_logger(__name__)


class SignedBytes(Base64):
    max_bytes = siws.MAX_LENGTH + MAX_PREAMBLE_BYTES


SignedText = Annotated[str, Meta(min_length=1, max_length=siws.MAX_LENGTH)]
SignatureText = Annotated[
    str, Meta(min_length=1, max_length=128, description="the signature: 64 bytes in base58 or base64")
]
Signer = Annotated[Wallet | None, Meta(description="the base58 address of a wallet")]
Domain = Annotated[str | None, Meta(description="the domain to sign in to, with its port if any")]


class NonceQuery(Struct, frozen=True):
    wallet: Signer = None
    """Who signs in: with it the answer has the whole message to sign."""
    domain: Domain = None


class NonceBody(Struct, frozen=True, kw_only=True):
    """`message` is present if the query has a wallet: sign its UTF-8 bytes unchanged."""

    nonce: str
    """The nonce for the message to sign, valid for one sign-in."""
    domain: str
    """The domain for the message."""
    domains: tuple[str, ...]
    """The domains that are accepted in a message; a development daemon accepts all of its machine, too."""
    chain_id: str
    """The Chain ID that is accepted in a message: the daemon's cluster."""
    expires_at: ServerTime
    """When the nonce expires."""
    message: str | UnsetType = UNSET
    """The whole message to sign; left out if the query has no wallet."""


class LoginRequest(Struct, frozen=True):
    ALIASES: ClassVar[Mapping[str, str]] = earlier_names.OF_A_SIGN_IN

    signature: SignatureText
    message: Annotated[
        SignedText | None,
        Meta(description="the text that was signed, 1 to 4096 characters; without it, send signed_message"),
    ] = None
    signed_message: Annotated[
        SignedBytes | None,
        Meta(
            description="the bytes that were signed, in base64: the text, or an off-chain message of Solana "
            "with the text in it; message is not read then"
        ),
    ] = None
    wallet: Signer = None
    """Who signs in; without it the wallet that the message names."""


class SessionBody(Struct, frozen=True, kw_only=True):
    """A session. Send `token` as `Authorization: Bearer <token>`; it is valid until `expires_at`."""

    success: bool = True
    """Always true: a failure is an error."""
    token: str
    """The session's JWT."""
    wallet: str
    """The wallet that has signed in."""
    expires_at: ServerTime
    """When the token expires."""
    expires_in_seconds: int
    """The token's lifetime."""
    message: str
    """What was done, for people."""
    wallet_address: Annotated[str, DEPRECATED] = field(name="walletAddress")
    """The same as wallet."""
    expires_in: Annotated[int, DEPRECATED] = field(name="expiresIn")
    """The same as expires_in_seconds."""
    expires_at_camel: Annotated[ServerTime, DEPRECATED] = field(name="expiresAt")
    """The same as expires_at."""


class LogoutBody(Struct, frozen=True):
    success: bool
    """Always true: a failure is an error."""
    message: str
    """What was done, for people."""


async def nonce(call: Call[NonceQuery]) -> NonceBody:
    """Get a nonce for a sign-in message; with `wallet` also the whole message to sign.

    Sign it, then send it to POST /api/auth/login.
    """
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
    """Exchange a signed message for a session. Get the message from GET /api/auth/nonce.

    A wallet may sign other bytes than the text: Ledger's sign an off-chain message of Solana, version 0 or 1,
    that contains it, and `solana:signIn` of the Wallet Standard writes a text of its own. Send those bytes,
    its `signedMessage`, in base64 as `signed_message`. The text in them is held to the same rules.
    """
    body = call.input
    signed = _signed_bytes(body)
    wallet = await call.app[SIGN_IN].verify(signed, body.signature, body.wallet, client_of(call.request))
    await _update_profile(call, wallet, users.sign_in)
    return _session_body(*await call.app[SESSIONS].begin(wallet), "Signed in.")


async def refresh(call: Call[None]) -> SessionBody:
    """Get a new token. The one that was sent is revoked.

    A session that has reached its maximum age cannot be renewed: sign in again.
    """
    token, session = await call.app[SESSIONS].renew(call.session)
    await _update_profile(call, session.wallet, users.touch)
    return _session_body(token, session, "Session renewed.")


async def logout(call: Call[None]) -> LogoutBody:
    """End the session at once, on all daemons and all open WebSockets."""
    await call.app[SESSIONS].end(call.session)
    return LogoutBody(success=True, message="Signed out.")


async def logout_everywhere(call: Call[None]) -> LogoutBody:
    """End all sessions of the wallet, on all devices."""
    await call.app[SESSIONS].end_all(call.session)
    return LogoutBody(success=True, message="Signed out everywhere.")


async def _update_profile(
    call: Call[Any], wallet: str, write: Callable[[Connection, str], Awaitable[Any]]
) -> None:
    """Record the visit in the wallet's profile. A failure is logged and does not prevent the sign-in."""
    try:
        async with (
            asyncio.timeout(PROFILE_TIMEOUT_SECONDS),
            call.app[keys.DATABASE].caller(Caller(wallet)) as connection,
        ):
            await write(connection, wallet)
    except (ZmartdError, asyncpg.PostgresError, TimeoutError) as error:
        log.warning("auth.unremembered", wallet=wallet, reason=repr(error))


def _signed_bytes(body: LoginRequest) -> bytes:
    """What was signed. Raises InvalidRequest where it is missing, or where nothing names a wallet."""
    if body.signed_message is not None:
        field, signed = "signed_message", bytes(body.signed_message)
    elif body.message is not None:
        field, signed = "message", body.message.encode()
    else:
        raise InvalidRequest(Problem("message", "is required: the text that was signed, or signed_message"))
    if body.wallet is None:
        try:
            sign_in.parse_message(signed)
        except BadMessage as error:
            raise InvalidRequest(Problem(field, f"must name the wallet: {error.message}")) from error
    return signed


def _session_body(token: str, session: Session, message: str) -> SessionBody:
    lifetime = session.expires_at - session.issued_at
    expires_at = iso_time(datetime.fromtimestamp(session.expires_at, UTC))
    return SessionBody(
        token=token,
        wallet=session.wallet,
        expires_at=expires_at,
        expires_in_seconds=lifetime,
        message=message,
        **earlier_answers.of_a_session(session.wallet, lifetime, expires_at),
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/auth/nonce",
        handler=nonce,
        name="get_nonce",
        summary="Get a nonce to sign in with",
        tag="auth",
        access=Access.PUBLIC,
        query=NonceQuery,
        responses={200: NonceBody},
        quota=Quota.SIGN_INS,
    ),
    Operation(
        method="POST",
        path="/api/auth/login",
        handler=login,
        name="sign_in",
        summary="Sign in with a signed message",
        tag="auth",
        access=Access.PUBLIC,
        body=LoginRequest,
        max_body_bytes=MAX_BODY_BYTES,
        responses={200: SessionBody},
        quota=Quota.SIGN_INS,
        errors=(Unauthorized, TooManyAttempts, SessionsUnavailable),
    ),
    Operation(
        method="POST",
        path="/api/auth/refresh",
        handler=refresh,
        name="refresh_session",
        summary="Renew a session",
        tag="auth",
        responses={200: SessionBody},
        access=Access.SESSION,
        is_secret=True,
    ),
    Operation(
        method="POST",
        path="/api/auth/logout",
        handler=logout,
        name="sign_out",
        summary="Sign out",
        tag="auth",
        responses={200: LogoutBody},
        access=Access.SESSION,
        is_secret=True,
    ),
    Operation(
        method="POST",
        path="/api/auth/logout-everywhere",
        handler=logout_everywhere,
        name="sign_out_everywhere",
        summary="Sign out everywhere",
        tag="auth",
        responses={200: LogoutBody},
        access=Access.SESSION,
        is_secret=True,
    ),
)

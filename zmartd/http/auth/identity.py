"""Who sends a request: found out by the middlewares, asked for by handlers."""

from __future__ import annotations

from enum import Enum

from aiohttp import web
from msgspec import Struct

from zmartd.clock import Clock
from zmartd.http.auth import legacy
from zmartd.http.auth.sessions import Sessions
from zmartd.http.auth.tokens import Session
from zmartd.http.errors.auth import (
    AuthMissing,
    BadMessage,
    SessionRequired,
    SessionsUnavailable,
    Unauthorized,
)
from zmartd.http.kit.operation import Access
from zmartd.store.rls import ANYBODY, Caller

BEARER = "Bearer"


class Credential(Enum):
    """What a caller proved its identity with, which decides how far it is trusted."""

    NONE = "none"
    LEGACY = "legacy"
    SESSION = "session"


class Identity(Struct, frozen=True):
    """Who a caller is. `refused` says why its credential was not accepted, if it sent one that was not."""

    caller: Caller = ANYBODY
    credential: Credential = Credential.NONE
    session: Session | None = None
    refused: Unauthorized | SessionsUnavailable | None = None


IDENTITY = web.RequestKey("identity", Identity)
"""Set for every request. It refuses nobody: handlers say what they need with the functions below."""
ANONYMOUS = Identity()


class Authenticator:
    """Reads the Authorization header. With `accepts_legacy` also the header of the earlier frontend."""

    def __init__(self, sessions: Sessions, accepts_legacy: bool, clock: Clock) -> None:
        self._sessions = sessions
        self._accepts_legacy = accepts_legacy
        self._clock = clock

    async def identify(self, authorization: str) -> Identity:
        """Whom a header proves. A bad one proves nobody, and is remembered for whoever needs a wallet."""
        scheme, _, credentials = authorization.partition(" ")
        try:
            if scheme.lower() == BEARER.lower():
                session = await self._sessions.recognise(credentials.strip())
                return Identity(Caller(session.wallet), Credential.SESSION, session)
            if scheme == legacy.SCHEME and self._accepts_legacy:
                wallet, signed_at = legacy.verify(credentials, self._clock.time())
                await self._sessions.recognise_signer(wallet, signed_at)
                return Identity(Caller(wallet), Credential.LEGACY)
        except (Unauthorized, SessionsUnavailable) as error:
            return Identity(refused=error)
        return Identity(refused=BadMessage("The Authorization header has to be `Bearer <token>`."))


def require(request: web.Request, access: Access) -> None:
    """Raises what keeps the caller from an operation of this `access`: as the functions below do."""
    match access:
        case Access.WALLET:
            require_wallet(request)
        case Access.SESSION:
            require_session(request)
        case Access.PUBLIC | Access.HELIUS:
            pass


def caller_of(request: web.Request) -> Caller:
    """On whose behalf to read: the signed-in wallet, or anybody. A bad credential counts as none."""
    return request[IDENTITY].caller


def require_wallet(request: web.Request) -> str:
    """The caller's wallet, for what only it may read or say. Not enough for what moves money.

    Raises AuthMissing, or why the credential was refused.
    """
    identity = request[IDENTITY]
    if identity.caller.wallet is None:
        raise identity.refused or AuthMissing()
    return identity.caller.wallet


def require_session(request: web.Request) -> Session:
    """The caller's session, for what moves money or changes the session itself.

    Raises SessionRequired for a credential that anybody can replay, otherwise as `require_wallet`.
    """
    require_wallet(request)
    session = request[IDENTITY].session
    if session is None:
        raise SessionRequired
    return session

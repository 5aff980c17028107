"""The identity of a caller, as far as it has proved one. The middleware sets it on every request."""

from __future__ import annotations

from enum import Enum

from aiohttp import web
from msgspec import Struct

from zmartd.http.errors.auth import AuthMissing, SessionRequired, SessionsUnavailable, Unauthorized
from zmartd.store.postgres.rls import ANYBODY, Caller


class Session(Struct, frozen=True):
    """The claims of a valid token: the wallet signed in at `began_at`; the token ends at `expires_at`.

    A session has one valid token at a time. Each renewal issues the next one; `renewals` counts them. Times
    are unix seconds.
    """

    wallet: str
    session_id: str
    began_at: int
    renewals: int
    issued_at: int
    expires_at: int


class Credential(Enum):
    """What a caller proved its identity with. Operations differ in what they accept."""

    NONE = "none"
    LEGACY = "legacy"
    SESSION = "session"


class Identity(Struct, frozen=True):
    """Who a caller is. `refused`: why its credential was not accepted, if it sent a bad one."""

    caller: Caller = ANYBODY
    """The wallet that has signed in, or an anonymous caller; also for a bad credential."""
    credential: Credential = Credential.NONE
    session: Session | None = None
    refused: Unauthorized | SessionsUnavailable | None = None

    def require_wallet(self, reason: str | None = None) -> str:
        """The caller's wallet, proved by any credential: not enough for what moves money.

        Raises AuthMissing, which says `reason` where that is given, or `refused`.
        """
        if self.caller.wallet is None:
            raise self.refused or AuthMissing(reason)
        return self.caller.wallet

    def require_session(self) -> Session:
        """The caller's session, as needed for what moves money or changes the session.

        Raises SessionRequired for a legacy header, which can be replayed; otherwise as `require_wallet`.
        """
        self.require_wallet()
        if self.session is None:
            raise SessionRequired("Authorization")
        return self.session


IDENTITY = web.RequestKey("identity", Identity)
"""The middleware sets it and refuses nobody: each operation declares whom it lets in."""
ANONYMOUS = Identity()

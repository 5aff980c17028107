"""Who a caller is, as far as it has proved it: found out before anything else is done with its request."""

from __future__ import annotations

from enum import Enum

from aiohttp import web
from msgspec import Struct

from zmartd.http.errors.auth import AuthMissing, SessionRequired, SessionsUnavailable, Unauthorized
from zmartd.store.postgres.rls import ANYBODY, Caller


class Session(Struct, frozen=True):
    """What a valid token says: this wallet signed in at `began_at`, and is until `expires_at` (unix seconds).

    A session has one token at a time; each renewal gives the next one, `renewals` counts them.
    """

    wallet: str
    session_id: str
    began_at: int
    renewals: int
    issued_at: int
    expires_at: int


class Credential(Enum):
    """What a caller proved its identity with, which decides how far it is trusted."""

    NONE = "none"
    LEGACY = "legacy"
    SESSION = "session"


class Identity(Struct, frozen=True):
    """Who a caller is. `refused` says why its credential was not accepted, if it sent one that was not."""

    caller: Caller = ANYBODY
    """On whose behalf to read: the wallet that has signed in, or anybody. A bad credential counts as none."""
    credential: Credential = Credential.NONE
    session: Session | None = None
    refused: Unauthorized | SessionsUnavailable | None = None

    def require_wallet(self) -> str:
        """The caller's wallet, for what only it may read or say. Not enough for what moves money.

        Raises AuthMissing, or why the credential was refused.
        """
        if self.caller.wallet is None:
            raise self.refused or AuthMissing()
        return self.caller.wallet

    def require_session(self) -> Session:
        """The caller's session, for what moves money or changes the session itself.

        Raises SessionRequired for a credential that anybody can replay, otherwise as `require_wallet`.
        """
        self.require_wallet()
        if self.session is None:
            raise SessionRequired
        return self.session


IDENTITY = web.RequestKey("identity", Identity)
"""Set for every request by the middleware, which refuses nobody: each operation declares whom it needs."""
ANONYMOUS = Identity()

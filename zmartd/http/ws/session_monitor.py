"""Signs WebSocket clients out within a second after their session has ended.

It does not depend on messages between daemons: it reads the revocations of all their sessions from Postgres,
several times a second, with one query. While Postgres does not answer, it is unknown which sessions go on,
so all of them get what anonymous clients get.
"""

from __future__ import annotations

from typing import Final, Protocol

from zmartd.clock import Clock
from zmartd.http.auth.sessions import Sessions
from zmartd.http.errors.auth import SessionsUnavailable, Unauthorized
from zmartd.http.kit.identity import Session
from zmartd.log import get_logger

INTERVAL_SECONDS: Final = 0.3
VALID_SECONDS: Final = 0.9
"""How long the result of a query counts, from its start: the next one may be late, or have to be repeated."""

log = get_logger(__name__)


class SessionClient(Protocol):
    """A connection that can be signed in."""

    def set_trusted(self, trusted: bool) -> None:
        """Send what signed-in clients get, or what anonymous ones get."""

    def end_session(self, session: Session, reason: Unauthorized) -> None:
        """Tell the client that `session` has ended. It gets what anonymous clients get."""


class SessionMonitor:
    """The signed-in clients of this daemon and their sessions. `run` has to be running."""

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self._clients: dict[SessionClient, Session] = {}
        self._trusted = True
        self._known_at = clock.monotonic()

    @property
    def clients(self) -> int:
        """How many clients are signed in."""
        return len(self._clients)

    def add(self, client: SessionClient, session: Session) -> None:
        """Monitor `session` for `client`, in place of an earlier one."""
        self._clients[client] = session

    def remove(self, client: SessionClient) -> None:
        """Stop monitoring a client; nothing happens if it is not signed in."""
        self._clients.pop(client, None)

    async def run(self) -> None:
        """Check the sessions at each interval until cancelled."""
        while True:
            await self.check()
            await self._clock.sleep(INTERVAL_SECONDS)

    async def check(self) -> None:
        """Sign out the clients whose sessions have ended."""
        asked_at = self._clock.monotonic()
        self._end(self._sessions.expired(set(self._clients.values())))
        sessions = set(self._clients.values())
        timeout_seconds = self._known_at + VALID_SECONDS - asked_at
        if sessions and timeout_seconds <= 0:
            self._set_trusted(False)
            timeout_seconds = INTERVAL_SECONDS
        try:
            signed_out = await self._sessions.signed_out(sessions, timeout_seconds) if sessions else {}
        except SessionsUnavailable:
            next_check_at = self._clock.monotonic() + INTERVAL_SECONDS
            if next_check_at >= self._known_at + VALID_SECONDS:
                self._set_trusted(False)
            return
        self._known_at = asked_at
        self._end(signed_out)
        self._set_trusted(True)

    def _end(self, ended: dict[Session, Unauthorized]) -> None:
        if not ended:
            return
        for client, session in list(self._clients.items()):
            if reason := ended.get(session):
                del self._clients[client]
                client.end_session(session, reason)

    def _set_trusted(self, trusted: bool) -> None:
        if trusted is not self._trusted:
            self._trusted = trusted
            log.warning("websocket.sessions_known" if trusted else "websocket.sessions_unknown")
        for client in self._clients:
            client.set_trusted(trusted)

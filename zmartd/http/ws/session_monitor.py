"""The sockets that are signed in on this daemon: they stop being so within a second of their session's end.

No message is relied upon: several times a second Postgres is asked about all of their sessions at once. While
it does not answer, nobody knows who is still signed in, and all of them get what anybody gets.
"""

from __future__ import annotations

from typing import Final, Protocol

from zmartd.clock import Clock
from zmartd.http.auth.sessions import Sessions
from zmartd.http.errors.auth import SessionsUnavailable, Unauthorized
from zmartd.http.kit.identity import Session
from zmartd.log import get_logger

INTERVAL_SECONDS: Final = 0.3
KNOWN_FOR_SECONDS: Final = 0.9
"""An answer counts for so long after it was asked for, which leaves time for the next one to be late, or for
another try."""

log = get_logger(__name__)


class Socket(Protocol):
    """A connection that can be signed in."""

    def trust(self, trusted: bool) -> None:
        """Send what a signed-in wallet gets, or what anybody gets."""

    def end_session(self, session: Session, reason: Unauthorized) -> None:
        """Tell the client that `session` is over; it gets what anybody gets."""


class SignedIn:
    """Sockets with their sessions. `run` has to be running for these to end."""

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self._sockets: dict[Socket, Session] = {}
        self._trusted = True
        self._known_at = clock.monotonic()

    def put(self, socket: Socket, session: Session) -> None:
        """`socket` is signed in with `session`, in place of any other."""
        self._sockets[socket] = session

    def remove(self, socket: Socket) -> None:
        """Forget a socket."""
        self._sockets.pop(socket, None)

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(INTERVAL_SECONDS)

    async def look(self) -> None:
        """End the sessions that are over."""
        asked_at = self._clock.monotonic()
        self._end(self._sessions.expired(set(self._sockets.values())))
        sessions = set(self._sockets.values())
        patience_seconds = self._known_at + KNOWN_FOR_SECONDS - asked_at
        if sessions and patience_seconds <= 0:
            self._trust(False)
            patience_seconds = INTERVAL_SECONDS
        try:
            signed_out = await self._sessions.signed_out(sessions, patience_seconds) if sessions else {}
        except SessionsUnavailable:
            next_look_at = self._clock.monotonic() + INTERVAL_SECONDS
            if next_look_at >= self._known_at + KNOWN_FOR_SECONDS:
                self._trust(False)
            return
        self._known_at = asked_at
        self._end(signed_out)
        self._trust(True)

    def _end(self, ended: dict[Session, Unauthorized]) -> None:
        if not ended:
            return
        for socket, session in list(self._sockets.items()):
            if reason := ended.get(session):
                del self._sockets[socket]
                socket.end_session(session, reason)

    def _trust(self, trusted: bool) -> None:
        if trusted is not self._trusted:
            self._trusted = trusted
            log.warning("websocket.sessions_known" if trusted else "websocket.sessions_unknown")
        for socket in self._sockets:
            socket.trust(trusted)

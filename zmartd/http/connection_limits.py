"""How many connections there may be, in all and of one caller. The next one is told to come back."""

from __future__ import annotations

import resource
from asyncio import Transport
from collections import Counter

import prometheus_client

from zmartd.clock import Clock
from zmartd.config import Server
from zmartd.http.client_address import TrustedProxies
from zmartd.log import get_logger

SPARE_DESCRIPTORS = 128
"""For what the daemon opens itself: its listeners, Postgres, Redis, RPC, files."""
LOG_SECONDS = 10.0
"""How often it is logged, at most, that connections were refused."""

_OPEN = prometheus_client.Gauge("zmartd_http_connections", "Open connections, WebSockets among them")
_REFUSED = prometheus_client.Counter(
    "zmartd_http_refused_connections", "Connections refused because there are too many", ["of"]
)

log = get_logger(__name__)


class ConnectionLimits:
    """Counts connections. A proxy of ours has as many as it likes of the total: its callers share them."""

    def __init__(self, settings: Server, proxies: TrustedProxies, clock: Clock, descriptors: int) -> None:
        """`descriptors`: how many the process may open. Connections get fewer than they may, if need be."""
        self._most = max(1, min(settings.max_connections, descriptors - SPARE_DESCRIPTORS))
        if self._most < settings.max_connections:
            log.warning("http.few_descriptors", descriptors=descriptors, max_connections=self._most)
        self._most_of_one = settings.max_connections_per_ip
        self._proxies = proxies
        self._clock = clock
        self._open: dict[Transport, str] = {}
        self._of: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._log_from = 0.0

    def admit(self, transport: Transport) -> bool:
        """Whether there is room for one more; then it is counted until it leaves."""
        peer = _peer(transport)
        caller = self._proxies.client_of(peer, "")
        if len(self._open) >= self._most:
            return self._refuse("all")
        if self._of[caller] >= self._most_of_one and not self._proxies.trusts(peer):
            return self._refuse("one caller")
        self._open[transport] = caller
        self._of[caller] += 1
        _OPEN.inc()
        return True

    def leave(self, transport: Transport) -> None:
        """Forget a connection, whether it was admitted or not."""
        caller = self._open.pop(transport, None)
        if caller is None:
            return
        _OPEN.dec()
        self._of[caller] -= 1
        if not self._of[caller]:
            del self._of[caller]

    def _refuse(self, of: str) -> bool:
        _REFUSED.labels(of).inc()
        self._refused[of] += 1
        now = self._clock.monotonic()
        if now >= self._log_from:
            self._log_from = now + LOG_SECONDS
            refused = {name.replace(" ", "_"): count for name, count in self._refused.items()}
            log.warning("http.connections_refused", open=len(self._open), **refused)
            self._refused.clear()
        return False


def _peer(transport: Transport) -> str | None:
    peer = transport.get_extra_info("peername")
    return peer[0] if isinstance(peer, tuple) else None


def raise_descriptor_limit() -> int:
    """Let the process open as many descriptors as the system allows it to; how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard in {soft, resource.RLIM_INFINITY}:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # a sandbox may forbid it
        log.warning("http.descriptors_not_raised", descriptors=soft, reason=type(error).__name__)
        return soft
    return hard

"""How many connections there may be, in all and of one caller. The next one is told to come back.

While few places are free, connections that only wait for their peers make room, those of the networks that
hold most first: neither silence nor keep-alive can hold all places.
"""

from __future__ import annotations

import heapq
import resource
from asyncio import Transport
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import prometheus_client

from zmartd import metrics
from zmartd.clock import Clock
from zmartd.config import Server
from zmartd.http.kit.client_address import TrustedProxies, site_of
from zmartd.log import get_logger

SPARE_DESCRIPTORS = 128
"""For what the daemon opens itself: its listeners, Postgres, Redis, RPC, files."""
FREE_PART = 10
"""One place of so many is kept free for newcomers."""
LOG_SECONDS = 10.0
"""How often it is logged, at most, that connections were refused."""

_OPEN = prometheus_client.Gauge("zmartd_http_connections", "Open connections, WebSockets among them")
_REFUSED = metrics.Counter(
    "zmartd_http_refused_connections", "Connections refused because there are too many", ["of"]
)

_LET_GO = metrics.Counter(
    "zmartd_http_connections_let_go", "Connections closed while they waited, so that others find a place"
)

log = get_logger(__name__)


class Holder(NamedTuple):
    caller: str
    site: str
    """The network that one owner has: callers of one site share what is left when places are few."""


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
        self._open: dict[Transport, Holder | None] = {}
        """Whose connection it is; None for a proxy of ours, which has many callers."""
        self._of: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._log_from = 0.0

    def admit(self, transport: Transport) -> bool:
        """Whether there is room for one more; then it is counted until it leaves."""
        peer = _peer(transport)
        caller = self._proxies.client_of(peer, "")
        if len(self._open) >= self._most:
            return self._refuse("all")
        if self._proxies.trusts(peer):
            self._open[transport] = None
        elif self._of[caller] >= self._most_of_one:
            return self._refuse("one caller")
        else:
            self._open[transport] = Holder(caller, site_of(peer))
            self._of[caller] += 1
        _OPEN.inc()
        return True

    def leave(self, transport: Transport) -> None:
        """Forget a connection, whether it was admitted or not."""
        if transport not in self._open:
            return
        holder = self._open.pop(transport)
        _OPEN.dec()
        if holder is not None:
            self._of[holder.caller] -= 1
            if not self._of[holder.caller]:
                del self._of[holder.caller]

    def to_let_go(self, waiting: Iterable[Transport]) -> list[Transport]:
        """Which of the connections that wait for their peers make room, so that a part of all places is free.

        One after another of whichever site holds most at that moment. Connections of proxies stay.
        """
        surplus = len(self._open) - (self._most - self._most // FREE_PART)
        if surplus <= 0:
            return []
        held = Counter(holder.site for holder in self._open.values() if holder is not None)
        candidates: dict[str, list[Transport]] = defaultdict(list)
        for transport in waiting:
            holder = self._open.get(transport)
            if holder is not None:
                candidates[holder.site].append(transport)
        largest = [(-held[site], site) for site in candidates]
        heapq.heapify(largest)
        chosen: list[Transport] = []
        while largest and len(chosen) < surplus:
            count, site = largest[0]
            chosen.append(candidates[site].pop())
            if candidates[site]:
                heapq.heapreplace(largest, (count + 1, site))
            else:
                heapq.heappop(largest)
        _LET_GO.inc(len(chosen))
        return chosen

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

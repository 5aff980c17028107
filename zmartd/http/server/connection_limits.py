"""Limits on the number of connections, in all, of one client and of one IPv6 site.

Further ones are refused with 503.

When few are free, connections that wait for their peers are closed, those of the networks with the most
connections first: neither silent nor idle connections can take up all of them.
"""

from __future__ import annotations

import heapq
from asyncio import Transport
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import prometheus_client

from zmartd import metrics
from zmartd.clock import Clock
from zmartd.config import ServerSettings
from zmartd.http.kit.client_address import TrustedProxies, site_of
from zmartd.log import get_logger

MAX_READING_REFUSALS = 32
"""Refused connections that stay open for a moment to read why. Further ones are closed at once."""
FREE_FRACTION = 10
"""One connection in so many is kept free for newcomers."""
SITE_FRACTION = 4
"""One IPv6 site may have one connection in so many. It has 65,536 clients, and WebSockets are not evicted."""
LOG_SECONDS = 10.0
"""The shortest time between two log lines about refused connections."""

_OPEN = prometheus_client.Gauge("zmartd_http_connections", "Open connections, WebSockets among them.")
_REFUSED = metrics.Counter(
    "zmartd_http_refused_connections", "Connections refused because there are too many.", ["of"]
)
for _limit in ("all", "one site", "one caller"):
    _REFUSED.labels(_limit)

_LET_GO = metrics.Counter(
    "zmartd_http_connections_let_go", "Connections closed while they waited, so that others find a place."
)

log = get_logger(__name__)


class Owner(NamedTuple):
    """Whose connection it is."""

    client: str
    site: str
    """The largest network that one customer of a provider has: its clients share what can be evicted."""


class ConnectionLimits:
    """Counts open connections. A trusted proxy is limited only by the total, which its clients share."""

    def __init__(
        self, settings: ServerSettings, proxies: TrustedProxies, clock: Clock, descriptors: int
    ) -> None:
        """`descriptors`: how many there are for connections; they can lower the limit of the settings."""
        self._descriptors = descriptors
        self.limit(settings)
        self._proxies = proxies
        self._clock = clock
        self._open: dict[Transport, Owner | None] = {}
        """The owner of each connection; None for a trusted proxy, which has many clients."""
        self._open_by_client: Counter[str] = Counter()
        self._open_by_site: Counter[str] = Counter()
        self._reading_refusals: set[Transport] = set()
        self._refused: Counter[str] = Counter()
        self._next_log_at = 0.0

    def limit(self, settings: ServerSettings) -> None:
        """Keep to these limits from now on. Connections that are open stay."""
        self._max_open = max(1, min(settings.max_connections, self._descriptors - MAX_READING_REFUSALS))
        if self._max_open < settings.max_connections:
            log.warning("http.few_descriptors", descriptors=self._descriptors, max_connections=self._max_open)
        self._max_open_per_client = settings.max_connections_per_ip

    def admit(self, transport: Transport) -> bool:
        """Count a new connection until its `release`. False where a limit has been reached."""
        peer = _peer(transport)
        client, site = self._proxies.client_of(peer, ""), site_of(peer)
        if len(self._open) >= self._max_open:
            return self._refuse("all")
        if self._proxies.trusts(peer):
            self._open[transport] = None
        elif self._open_by_client[client] >= self._max_open_per_client:
            return self._refuse("one caller")
        elif site != client and self._open_by_site[site] >= max(1, self._max_open // SITE_FRACTION):
            return self._refuse("one site")
        else:
            self._open[transport] = Owner(client, site)
            self._open_by_client[client] += 1
            self._open_by_site[site] += 1
        _OPEN.inc()
        return True

    def let_read_refusal(self, transport: Transport) -> bool:
        """Whether a refused connection may stay open, until its `release`, to read why it was refused."""
        if len(self._reading_refusals) >= MAX_READING_REFUSALS:
            return False
        self._reading_refusals.add(transport)
        return True

    def release(self, transport: Transport) -> None:
        """Stop counting a connection; nothing happens if it was not admitted."""
        self._reading_refusals.discard(transport)
        if transport not in self._open:
            return
        owner = self._open.pop(transport)
        _OPEN.dec()
        if owner is not None:
            for counts, key in ((self._open_by_client, owner.client), (self._open_by_site, owner.site)):
                counts[key] -= 1
                if not counts[key]:
                    del counts[key]

    def choose_evicted(self, waiting: Iterable[Transport]) -> list[Transport]:
        """The connections to close so that one in FREE_FRACTION is free, of those that wait for their peers.

        Each one is of the site that has the most connections at that point. Connections of trusted proxies
        are never chosen.
        """
        surplus = len(self._open) - (self._max_open - self._max_open // FREE_FRACTION)
        if surplus <= 0:
            return []
        candidates: dict[str, list[Transport]] = defaultdict(list)
        for transport in waiting:
            owner = self._open.get(transport)
            if owner is not None:
                candidates[owner.site].append(transport)
        largest = [(-self._open_by_site[site], site) for site in candidates]
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

    def _refuse(self, limit: str) -> bool:
        _REFUSED.labels(limit).inc()
        self._refused[limit] += 1
        now = self._clock.monotonic()
        if now >= self._next_log_at:
            self._next_log_at = now + LOG_SECONDS
            refused = {name.replace(" ", "_"): count for name, count in self._refused.items()}
            log.warning("http.connections_refused", open=len(self._open), **refused)
            self._refused.clear()
        return False


def _peer(transport: Transport) -> str | None:
    peer = transport.get_extra_info("peername")
    return peer[0] if isinstance(peer, tuple) else None

"""The client of a request, for everything that is counted per client: an IPv4 address or an IPv6 /64.

Whoever has one address of an IPv6 /64 has all 2^64 of them, so a client is the whole network. A site, to
which providers give up to an IPv6 /48, can be 65,536 clients. So these also have limits together:
SITE_CLIENTS times those of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_network
from typing import Final, Literal, NamedTuple

from aiohttp import hdrs, web

from zmartd.clock import Clock
from zmartd.http.kit.forwarded_header import Address, address_of, forwarded, x_forwarded_for
from zmartd.log import get_logger
from zmartd.metrics import Counter

UNKNOWN = "unknown"
IPV6_NETWORK_BITS = 64
IPV6_SITE_BITS = 48
"""The largest network that providers give to one site (RFC 6177)."""
SITE_CLIENTS = 64
"""How many times the limits of a client the clients of one IPv6 site have together."""
LOG_SECONDS = 60.0
"""The shortest time between two log lines about headers that name no address."""

_CACHE_SIZE = 4_096
_MAX_CACHED_LENGTH = 200
"""Characters of a header: longer ones are made up, and would fill memory."""
_MAX_LOGGED_LENGTH = 100
_NODES = {hdrs.X_FORWARDED_FOR: x_forwarded_for, hdrs.FORWARDED: forwarded}

UNTRUSTED: Final = Counter(
    "zmartd_http_untrusted_forwarding",
    "Requests with the header of proxies while no proxy is trusted: their clients count as one.",
)

log = get_logger(__name__)


class _Reading(NamedTuple):
    client: str
    unreadable: str | None = None
    """What a trusted proxy wrote instead of an address: the client is then that proxy."""


class TrustedProxies:
    """The addresses and networks whose word is believed about whom they had a request from.

    They give it in `header` and in no other: a client could send the one that they do not write.
    """

    def __init__(
        self,
        networks: Sequence[str],
        clock: Clock,
        header: Literal["X-Forwarded-For", "Forwarded"] = "X-Forwarded-For",
    ) -> None:
        self._clock = clock
        self._unreadable = 0
        self._next_log_at = 0.0
        self.believe(networks, header)

    def believe(
        self, networks: Sequence[str], header: Literal["X-Forwarded-For", "Forwarded"] = "X-Forwarded-For"
    ) -> None:
        """Believe these from now on, and no others."""
        self._networks = [ip_network(network, strict=False) for network in networks]
        self._header = hdrs.FORWARDED if header == "Forwarded" else hdrs.X_FORWARDED_FOR
        self._nodes = _NODES[self._header]
        self._cached_read = lru_cache(maxsize=_CACHE_SIZE)(self._read)

    def client_of_request(self, request: web.BaseRequest) -> str:
        """The client that sent `request`, as `client_of` has it."""
        headers = request.headers
        if self._header not in headers:
            return self.client_of(request.remote, "")
        if not self._networks:
            UNTRUSTED.inc()
        return self.client_of(request.remote, ",".join(headers.getall(self._header)))

    def client_of(self, peer: str | None, header: str) -> str:
        """The nearest address that is not a trusted proxy; of an IPv6 address its /64 network.

        `peer` is the other end of the connection. `header` says whom each proxy had the request from, the
        nearest one's word last; empty if there is none. What stands before the first untrusted address is not
        believed. A proxy whose word names no address is itself the client.
        """
        read = self._read if len(header) > _MAX_CACHED_LENGTH else self._cached_read
        reading = read(peer, header)
        if reading.unreadable is not None:
            self._report(reading)
        return reading.client

    def _read(self, peer: str | None, header: str) -> _Reading:
        address = address_of(peer or "")
        if address is None:
            return _Reading(UNKNOWN)
        if header:
            for node in self._nodes(header):
                if not self._trusts(address):
                    break
                claimed = address_of(node)
                if claimed is None:
                    return _Reading(_network(address), node)
                address = claimed
        return _Reading(_network(address))

    def trusts(self, peer: str | None) -> bool:
        """Whether the other end of a connection is a trusted proxy."""
        address = address_of(peer or "")
        return address is not None and self._trusts(address)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def _report(self, reading: _Reading) -> None:
        self._unreadable += 1
        now = self._clock.monotonic()
        if now < self._next_log_at:
            return
        self._next_log_at = now + LOG_SECONDS
        log.warning(
            "http.client_unreadable",
            header=str(self._header),
            value=(reading.unreadable or "")[:_MAX_LOGGED_LENGTH],
            counted_as=reading.client,
            requests=self._unreadable,
        )
        self._unreadable = 0


TRUSTED_PROXIES: Final[web.AppKey[TrustedProxies]] = web.AppKey("trusted_proxies")


def client_of(request: web.Request) -> str:
    """The client that sent `request`: the key for rate limits, connection limits and attempts."""
    return request.app[TRUSTED_PROXIES].client_of_request(request)


@lru_cache(maxsize=_CACHE_SIZE)
def site_of(client: str | None) -> str:
    """The site of a client, or of an address: an IPv6 /48, or the IPv4 address."""
    address = address_of((client or "").partition("/")[0])
    return UNKNOWN if address is None else _network(address, IPV6_SITE_BITS)


def _network(address: Address, bits: int = IPV6_NETWORK_BITS) -> str:
    if isinstance(address, IPv6Address):
        return str(ip_network((address, bits), strict=False))
    return str(address)

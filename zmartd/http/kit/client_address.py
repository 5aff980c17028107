"""The client of a request, for everything that is counted per client: an IPv4 address or an IPv6 /64.

Whoever has one address of an IPv6 /64 has all 2^64 of them, so a client is the whole network.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from aiohttp import hdrs, web

UNKNOWN = "unknown"
IPV6_NETWORK_BITS = 64
IPV6_SITE_BITS = 48
"""The largest network that providers give to one site (RFC 6177)."""

_CACHE_SIZE = 4_096
_MAX_CACHED_LENGTH = 200
"""Characters of an X-Forwarded-For: longer ones are made up, and would fill memory."""


class TrustedProxies:
    """The addresses and networks whose X-Forwarded-For is believed."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ip_network(network, strict=False) for network in networks]
        self._cached_client_of = lru_cache(maxsize=_CACHE_SIZE)(self._client_of)

    def client_of(self, peer: str | None, forwarded_for: str) -> str:
        """The nearest address that is not a trusted proxy; of an IPv6 address its /64 network.

        `peer` is the other end of the connection. `forwarded_for` is the X-Forwarded-For: the address that
        each proxy had the request from, the nearest proxy's last. What stands before the first untrusted
        address is not believed.
        """
        if len(forwarded_for) > _MAX_CACHED_LENGTH:
            return self._client_of(peer, forwarded_for)
        return self._cached_client_of(peer, forwarded_for)

    def _client_of(self, peer: str | None, forwarded_for: str) -> str:
        address = _address(peer or "")
        if address is None:
            return UNKNOWN
        for claim in reversed(forwarded_for.split(",")):
            if not self._trusts(address):
                break
            claimed = _address(claim.strip())
            if claimed is None:
                break
            address = claimed
        return _network(address) if isinstance(address, IPv6Address) else str(address)

    def trusts(self, peer: str | None) -> bool:
        """Whether the other end of a connection is a trusted proxy."""
        address = _address(peer or "")
        return address is not None and self._trusts(address)

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


TRUSTED_PROXIES: Final[web.AppKey[TrustedProxies]] = web.AppKey("trusted_proxies")


def client_of(request: web.Request) -> str:
    """The client that sent `request`: the key for rate limits, connection limits and attempts."""
    return request.app[TRUSTED_PROXIES].client_of(request.remote, forwarded_for(request))


def forwarded_for(request: web.Request) -> str:
    """The X-Forwarded-For of `request`, as `TrustedProxies.client_of` takes it; empty without one."""
    headers = request.headers
    if hdrs.X_FORWARDED_FOR not in headers:
        return ""
    return ",".join(headers.getall(hdrs.X_FORWARDED_FOR))


def site_of(peer: str | None) -> str:
    """The site of `peer`: its IPv4 address, or its IPv6 /48."""
    address = _address(peer or "")
    if address is None:
        return UNKNOWN
    return _network(address, IPV6_SITE_BITS) if isinstance(address, IPv6Address) else str(address)


def _network(address: IPv6Address, bits: int = IPV6_NETWORK_BITS) -> str:
    return str(ip_network((address, bits), strict=False))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address

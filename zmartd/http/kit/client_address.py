"""Who sends a request, for everything that is counted per caller: one address, or one IPv6 /64.

Whoever has one address of an IPv6 /64 has all 2^64 of them, so the network stands for its addresses. Proxies
of our own may stand in between.
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
"""The largest network that providers give to one customer (RFC 6177)."""

_REMEMBERED = 4_096
_LONG = 200
"""Characters: what is longer was made up to fill memory."""


class TrustedProxies:
    """The addresses and networks whose word on where a request comes from is taken."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ip_network(network, strict=False) for network in networks]
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._client_of)

    def client_of(self, peer: str | None, forwarded_for: str) -> str:
        """The last address on the way that is not a proxy of ours; of an IPv6 one its /64 network.

        `peer` is the other end of the connection; `forwarded_for` lists, from far to near, whom each proxy
        got the request from. Whatever stands before a foreign address is that foreigner's claim.
        """
        if len(forwarded_for) > _LONG:
            return self._client_of(peer, forwarded_for)
        return self._remembered(peer, forwarded_for)

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
        """Whether the other end of a connection is a proxy of ours."""
        address = _address(peer or "")
        return address is not None and self._trusts(address)

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


TRUSTED_PROXIES: Final[web.AppKey[TrustedProxies]] = web.AppKey("trusted_proxies")


def client_of(request: web.Request) -> str:
    """Whoever sent `request`, as text. Rate limits, seats and attempts are all counted under this name."""
    return request.app[TRUSTED_PROXIES].client_of(request.remote, forwarded_for(request))


def forwarded_for(request: web.Request) -> str:
    """Whom the proxies on the way say they got `request` from, as `client_of` takes it."""
    headers = request.headers
    if hdrs.X_FORWARDED_FOR not in headers:
        return ""
    return ",".join(headers.getall(hdrs.X_FORWARDED_FOR))


def site_of(peer: str | None) -> str:
    """The network of the one who owns `peer`: its IPv4 address, or its IPv6 /48."""
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

"""Reads whom proxies had a request from, in their header X-Forwarded-For or Forwarded (RFC 7239).

Each proxy adds an element at the end, so the elements are read from the end. What the client wrote stands
before them and must not change how they are read, not even with a quote that it leaves open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address

MAX_HOPS = 32
"""How many proxies are followed. Real requests pass a handful; what stands before is read as one element."""

_PORT = r":(?:[0-9]{1,5}|_[A-Za-z0-9._-]+)"
_NODE = re.compile(rf"(?:\[([^\[\]]*)\]|([0-9.]+))(?:{_PORT})?", re.ASCII)
_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_PAIR = rf'\s*({_NAME})\s*=\s*(?:"([^"\\]*)"|([^\s",;\\]+))\s*'
_PAIRS = re.compile(rf"{_PAIR}(?:;{_PAIR})*", re.ASCII)
_EACH_PAIR = re.compile(_PAIR, re.ASCII)


def x_forwarded_for(header: str) -> Iterator[str]:
    """The nodes of an X-Forwarded-For, the nearest proxy's first."""
    return (element.strip() for element in reversed(header.rsplit(",", MAX_HOPS)))


def forwarded(header: str) -> Iterator[str]:
    """The nodes of a Forwarded header, the nearest proxy's first; empty for an element without a `for`."""
    return (_for(element) for element in _elements_from_the_end(header))


def address_of(node: str) -> Address | None:
    """The address of a node without its port and zone; of an IPv4-mapped IPv6 address the IPv4 address.

    None for `unknown`, for an obfuscated identifier such as `_hidden`, and for all that is not an address.
    """
    found = _NODE.fullmatch(node)
    text = (found[1] or found[2]) if found else node
    try:
        address = ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _elements_from_the_end(header: str) -> Iterator[str]:
    """The elements between commas that are not in quotes, the last one first."""
    element = ""
    for part in reversed(header.rsplit(",", MAX_HOPS)):
        element = f"{part},{element}" if element else part
        if element.count('"') % 2 == 0:
            yield element
            element = ""
    if element:
        yield element


def _for(element: str) -> str:
    if not _PAIRS.fullmatch(element):
        return ""
    nodes = [quoted or plain for name, quoted, plain in _EACH_PAIR.findall(element) if name.lower() == "for"]
    return nodes[0] if len(nodes) == 1 else ""

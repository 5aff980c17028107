"""Parses connection URLs, and describes them without their user, password or key.

Libraries parse such URLs in different ways, and quote the invalid part in their errors, which can be a part
of a password. So a URL is parsed here first, strictly, and libraries get only unambiguous ones.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote

from msgspec import Struct

MAX_PORT = 65_535

POSTGRES = ("postgresql", "postgres")
REDIS = ("redis", "rediss", "unix")
HTTP = ("http", "https")
"""The URL schemes of each."""

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._%-]*)(?::([0-9]{1,5}))?")
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
"""The positions between the words of a class's name."""
_END_OF_AUTHORITY = re.compile(r"[/?#]")
_SHORTEST_SECRET = 4
"""What is shorter, like `v2` in a path, is no key, and occurs in any text."""
_HIDDEN = "***"


class UnreadableUrl(ValueError):
    """The URL is invalid or ambiguous."""


class Address(Struct, frozen=True):
    """A host name, IP address or directory of a Unix socket, and the port if given."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return self.host.startswith("/") or is_loopback(self.host)


class Endpoint(Struct, frozen=True):
    """A parsed connection URL."""

    scheme: str
    addresses: tuple[Address, ...]
    """Empty when the URL has no host."""
    path: str
    """The decoded path without its first slash."""
    query: Mapping[str, str]
    """The query parameters; they may contain a password or a key."""


def read(url: str, schemes: Collection[str]) -> Endpoint:
    """Parse a URL of one of these schemes. Raises UnreadableUrl, which quotes nothing.

    Special characters in a user, password or key have to be percent-encoded, since a library could mistake a
    part of the password for the host otherwise.
    """
    scheme, separator, rest = url.partition("://")
    if scheme not in schemes or not separator or any(character <= " " for character in url):
        raise UnreadableUrl
    cut = _END_OF_AUTHORITY.search(rest)
    authority, tail = (rest[: cut.start()], rest[cut.start() :]) if cut else (rest, "")
    if authority.count("@") > 1 or "@" in tail or "#" in tail:
        raise UnreadableUrl
    path, _, query = tail.partition("?")
    addresses = _addresses(authority.rpartition("@")[2])
    values = dict(parse_qsl(query, keep_blank_values=True))
    return Endpoint(scheme, addresses, unquote(path.removeprefix("/")), values)


def _addresses(text: str) -> tuple[Address, ...]:
    found = []
    for one in text.split(",") if text else ():
        match = _HOST_AND_PORT.fullmatch(one)
        port = int(match[2]) if match and match[2] else None
        if match is None or (port or 0) > MAX_PORT:
            raise UnreadableUrl
        host = unquote(match[1].strip("[]"))
        if match[1].startswith("[") and not _is_ip_address(host):
            raise UnreadableUrl
        if host:
            found.append(Address(host, port))
    return tuple(found)


class Secrets:
    """Hides in texts of others what may be a key in a URL: its user, password, path and query."""

    def __init__(self, url: str) -> None:
        """`url` may be one that cannot be read."""
        authority, _, tail = url.partition("://")[2].partition("/")
        authority, _, asked = authority.partition("?")
        user = authority.rpartition("@")[0]
        path, _, query = tail.partition("?")
        parts = [user, *user.split(":"), b64encode(unquote(user).encode()).decode(), path]
        parts += re.split(r"[/&=?#]", f"{path}&{query}&{asked}")
        spelt = {
            one
            for part in parts
            for text in (part, unquote(part))
            for one in (text, quote(text, ""), quote_plus(text))
        }
        longest_first = sorted((one for one in spelt if len(one) >= _SHORTEST_SECRET), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)", re.IGNORECASE)

    def hidden(self, text: str) -> str:
        """The text with asterisks in the place of each."""
        return self._pattern.sub(_HIDDEN, text)

    def hidden_in(self, value: Any) -> Any:
        """The same of all texts in decoded JSON."""
        match value:
            case str():
                return self.hidden(value)
            case list():
                return [self.hidden_in(one) for one in value]
            case dict():
                return {self.hidden(name): self.hidden_in(one) for name, one in value.items()}
            case _:
                return value


def reachable_url(scheme: str, host: str, port: int) -> str:
    """A URL that leads from this machine to what listens on `host`, an IP address or a name."""
    if _is_ip_address(host) and ip_address(host).is_unspecified:
        host = "127.0.0.1" if ip_address(host).version == 4 else "::1"
    return f"{scheme}://{Address(host, port)}"


def is_loopback(host: str) -> bool:
    """Whether a host name or IP address is certainly this machine, without a DNS query."""
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    return _is_ip_address(host) and ip_address(host).is_loopback


def is_loopback_url(url: str) -> bool:
    """Whether an HTTP URL certainly leads to this machine."""
    try:
        addresses = read(url, HTTP).addresses
    except UnreadableUrl:
        return False
    return len(addresses) == 1 and is_loopback(addresses[0].host)


def is_loopback_domain(text: str) -> bool:
    """Whether `host` or `host:port`, and nothing more, is certainly this machine."""
    try:
        addresses = read(f"http://{text}", HTTP).addresses
    except UnreadableUrl:
        return False
    return [str(address) for address in addresses] == [text] and is_loopback(addresses[0].host)


def _is_ip_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def reason(error: BaseException) -> str:
    """Why a connection failed, in words that cannot contain a part of the URL.

    These are the operating system's or the TLS library's, or else the name of the exception's class, since
    another library's message may quote the URL.
    """
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not valid: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"no TLS connection: {(cause.reason or 'failed').replace('_', ' ').lower()}"
        if isinstance(cause, socket.gaierror):
            return str(cause.strerror)
        if isinstance(cause, OSError) and cause.errno is not None:
            return os.strerror(cause.errno)
    return _WORDS.sub(" ", type(error).__name__).lower().removesuffix(" error")


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its chain of causes."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__

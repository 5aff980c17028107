"""The kinds of values that settings have: secrets, URLs, bounded numbers, lists with a rule for members."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable
from ipaddress import ip_network
from itertools import pairwise
from typing import Annotated, ClassVar

from msgspec import Meta
from solders.pubkey import Pubkey

from zmartd import endpoint
from zmartd.errors import ZmartdError

Port = Annotated[int, Meta(ge=1, le=65_535)]
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
WholeSeconds = Annotated[int, Meta(ge=0, le=31_536_000)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Reads = Annotated[int, Meta(ge=5, le=1_000_000)]
"""A limit of reads. An export counts as five of them, so a lower one would refuse every export."""
Bytes = Annotated[int, Meta(ge=256, le=104_857_600)]
Lamports = Annotated[int, Meta(ge=0, le=1_000_000_000_000_000)]
BasisPoints = Annotated[int, Meta(ge=0, le=10_000)]

REQUIRE_MEMBER = "require_member"
REQUIRE_TEXT = "require_text"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_MULTIADDR = re.compile(r"(/[A-Za-z0-9._:%-]+){2,20}")

MIN_SHARED_SECRET_CHARACTERS = 32
"""128 bits in hexadecimal."""
MIN_SHARED_SECRET_PAIRS = 16
"""The least number of different pairs of adjacent characters. 32 random hexadecimal characters have about 30;
a repeated word has fewer.
"""
MIN_DIFFERENT_BYTES = 12
"""The same for keys that are bytes: of 24 random ones about 23 are different."""


class ConfigError(ZmartdError):
    """The configuration is not valid."""

    code = "invalid_configuration"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Secret:
    """A value that logs and error messages must not show; `reveal()` returns it."""

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}('…')" if self._value else f"{type(self).__name__}('')"


class SharedSecret(Secret):
    """A key or password that two machines share, chosen by an operator. Whoever guesses it is trusted, so one
    that is easy to guess is refused. Empty: none. Raises ValueError, which never quotes it.
    """

    __slots__ = ()

    def __init__(self, value: str = "") -> None:
        super().__init__(value)
        if not value:
            return
        remedy = "`openssl rand -hex 32` makes a good one"
        needed = MIN_SHARED_SECRET_CHARACTERS
        if len(value) < needed:
            raise ValueError(f"it has {len(value)} of the {needed} characters that it needs; {remedy}")
        if len(set(pairwise(value))) < MIN_SHARED_SECRET_PAIRS:
            raise ValueError(f"it repeats itself and could be guessed; {remedy}")


class WebhookSecret(Secret):
    """A key of Standard Webhooks: `whsec_` and 24 to 64 bytes in base64. Empty: none.

    Raises ValueError, which quotes nothing of it.
    """

    __slots__ = ("key",)
    PREFIX: ClassVar[str] = "whsec_"

    def __init__(self, value: str = "") -> None:
        super().__init__(value)
        self.key = b""
        """The bytes that sign."""
        if not value:
            return
        try:
            self.key = b64decode(value.removeprefix(self.PREFIX), validate=True)
        except (binascii.Error, ValueError):
            self.key = b""
        if not value.startswith(self.PREFIX) or not 24 <= len(self.key) <= 64:
            raise ValueError(
                f"write {self.PREFIX} and 24 to 64 bytes in base64; "
                f'`echo "{self.PREFIX}$(openssl rand -base64 32)"` makes a good one'
            )
        if len(set(self.key)) < MIN_DIFFERENT_BYTES:
            raise ValueError(
                "it repeats itself and could be guessed; `openssl rand -base64 32` makes another"
            )


class Url(Secret):
    """A server's URL, perhaps with a user or a key. Raises ValueError, which quotes nothing of it."""

    __slots__ = ()
    schemes: ClassVar[tuple[str, ...]]
    form: ClassVar[str]

    def __init__(self, value: str) -> None:
        super().__init__(value)
        try:
            endpoint.read(value, self.schemes)
        except endpoint.UnreadableUrl:
            raise ValueError(
                f"write {self.form}, with special characters of names and passwords percent-encoded"
            ) from None


class PostgresUrl(Url):
    __slots__ = ()
    schemes = endpoint.POSTGRES
    form = "postgresql://user:password@host:port/database"


class ReplicaUrl(PostgresUrl):
    """Empty: none."""

    __slots__ = ()

    def __init__(self, value: str = "") -> None:
        if value:
            super().__init__(value)
        else:
            Secret.__init__(self)


class RedisUrl(Url):
    __slots__ = ()
    schemes = endpoint.REDIS
    form = "redis://user:password@host:port/0, rediss:// for TLS, or unix:///path"


class RpcUrl(Url):
    __slots__ = ()
    schemes = endpoint.HTTP
    form = "https://host/path"


class ServiceUrl(Url):
    """The URL below which a service of others is asked; its query goes with each request. Empty: none."""

    __slots__ = ()
    schemes = endpoint.HTTP
    form = "https://host/path"

    def __init__(self, value: str = "") -> None:
        if value:
            super().__init__(value)
        else:
            Secret.__init__(self)


def described(description: str) -> Meta:
    return Meta(description=description)


def described_text(description: str, require: Callable[[str], object]) -> Meta:
    """The Meta of a text. `require` raises ValueError with what is expected."""
    return Meta(description=description, extra={REQUIRE_TEXT: require})


def described_list(
    description: str,
    require_member: Callable[[str], object],
    *,
    min_length: int | None = None,
    max_length: int | None = None,
) -> Meta:
    """The Meta of a list. `require_member` raises ValueError with what is expected."""
    return Meta(
        description=description,
        min_length=min_length,
        max_length=max_length,
        extra={REQUIRE_MEMBER: require_member},
    )


def require_network(text: str) -> None:
    try:
        ip_network(text, strict=False)
    except ValueError:
        raise ValueError("write an IP address, or a network like 10.0.0.0/8 or fd00::/8") from None


def require_origin(text: str) -> None:
    scheme, _, domain = text.partition("://")
    if not _SCHEME.fullmatch(scheme) or text != text.lower() or not _is_domain(domain):
        raise ValueError("write scheme://host or scheme://host:port in lower case, as a browser sends it")


def require_https_url(text: str) -> None:
    """Empty is right, too."""
    try:
        where = endpoint.read(text, ("https",)) if text else None
    except endpoint.UnreadableUrl:
        raise ValueError("write https://host/path") from None
    if where is not None and (len(where.addresses) != 1 or "@" in text):
        raise ValueError("write https://host/path")


def require_domain(text: str) -> None:
    if not _is_domain(text):
        raise ValueError("write host or host:port")


def require_multiaddr(text: str) -> None:
    if not _MULTIADDR.fullmatch(text):
        raise ValueError("write /ip4/ADDRESS/tcp/PORT/p2p/PEER, as `ipfs id` prints it")


def require_wallet(text: str) -> None:
    try:
        Pubkey.from_string(text)
    except ValueError:
        raise ValueError("write an address: 32 bytes in base58") from None


def _is_domain(text: str) -> bool:
    """Whether the text is only a host, with or without a port."""
    try:
        addresses = endpoint.read(f"https://{text}", ("https",)).addresses
    except endpoint.UnreadableUrl:
        return False
    return [str(address) for address in addresses] == [text]

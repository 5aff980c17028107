"""Parses and writes the message of Sign In With Solana (SIWS) by its ABNF. It does not verify anything.

    {domain} wants you to sign in with your Solana account:
    {address}

    {statement}

    URI: {uri}
    Version: 1
    Chain ID: {chain id}
    Nonce: {nonce}
    Issued At: {RFC 3339 time}
    Expiration Time: {RFC 3339 time}
    Not Before: {RFC 3339 time}
    Request ID: {request id}
    Resources:
    - {uri}

Everything after the address is optional, in this order. Without a statement, either its line and the empty
line after it are missing, or only its line, as in EIP-4361, where the format comes from.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from msgspec import Struct

from zmartd.market.ids import is_address
from zmartd.market.iso_time import RFC3339, utc_from_rfc3339

MAX_LENGTH = 4_096

_GREETING = " wants you to sign in with your Solana account:"
_RESOURCES = "Resources:"
_LABELS = (
    _URI_LABEL := "URI",
    _VERSION_LABEL := "Version",
    _CHAIN_ID_LABEL := "Chain ID",
    _NONCE_LABEL := "Nonce",
    _ISSUED_AT_LABEL := "Issued At",
    _EXPIRATION_TIME_LABEL := "Expiration Time",
    _NOT_BEFORE_LABEL := "Not Before",
    _REQUEST_ID_LABEL := "Request ID",
)

_UNRESERVED = r"A-Za-z0-9\-._~"
_SUB_DELIMS = r"!$&'()*+,;="
_DOMAIN = re.compile(rf"[{_UNRESERVED}{_SUB_DELIMS}%:@\[\]]{{1,255}}")
_STATEMENT = re.compile(rf"[{_UNRESERVED}{_SUB_DELIMS}:/?#\[\]@ ]+")
_URI = re.compile(rf"[A-Za-z][A-Za-z0-9+.\-]*:[{_UNRESERVED}{_SUB_DELIMS}%:/?#\[\]@]*")
_CHAIN_ID = re.compile(r"(?:solana:)?(mainnet|testnet|devnet|localnet)")
_VERSION = re.compile("1")
_NONCE = re.compile(r"[A-Za-z0-9]{8,}")
_REQUEST_ID = re.compile(rf"[{_UNRESERVED}{_SUB_DELIMS}%:@]*")


class MalformedMessage(ValueError):
    """The text is not in the format. The message says which part."""


class SignInMessage(Struct, frozen=True, kw_only=True):
    """The fields of a message. Times have a time zone, and microseconds."""

    domain: str
    address: str
    statement: str | None = None
    uri: str | None = None
    version: str | None = None
    chain_id: str | None = None
    nonce: str | None = None
    issued_at: datetime | None = None
    expiration_time: datetime | None = None
    not_before: datetime | None = None
    request_id: str | None = None
    resources: tuple[str, ...] | None = None

    @property
    def cluster(self) -> str | None:
        """The chain id without its optional `solana:`."""
        return None if self.chain_id is None else self.chain_id.removeprefix("solana:")

    def text(self) -> str:
        """The text to sign."""
        lines = [f"{self.domain}{_GREETING}", self.address]
        if self.statement is not None:
            lines += ["", self.statement]
        fields = [f"{label}: {value}" for label, value in self._fields() if value is not None]
        if self.resources is not None:
            fields += [_RESOURCES, *(f"- {uri}" for uri in self.resources)]
        return "\n".join([*lines, "", *fields] if fields else lines)

    def _fields(self) -> list[tuple[str, str | None]]:
        return [
            (_URI_LABEL, self.uri),
            (_VERSION_LABEL, self.version),
            (_CHAIN_ID_LABEL, self.chain_id),
            (_NONCE_LABEL, self.nonce),
            (_ISSUED_AT_LABEL, _rfc3339(self.issued_at)),
            (_EXPIRATION_TIME_LABEL, _rfc3339(self.expiration_time)),
            (_NOT_BEFORE_LABEL, _rfc3339(self.not_before)),
            (_REQUEST_ID_LABEL, self.request_id),
        ]


def parse(text: str) -> SignInMessage:
    """The fields of a text. Raises MalformedMessage where it is not in the format."""
    if len(text) > MAX_LENGTH:
        raise MalformedMessage(f"the message is longer than {MAX_LENGTH} characters")
    lines = text.split("\n")
    domain = lines[0].removesuffix(_GREETING)
    if domain == lines[0] or not _DOMAIN.fullmatch(domain):
        raise MalformedMessage(f"the first line is not `<domain>{_GREETING}`")
    if len(lines) < 2 or not is_address(lines[1]):
        raise MalformedMessage("the second line is not an address")
    statement, fields = _split(lines[2:])
    reader = _FieldReader(fields)
    message = SignInMessage(
        domain=domain,
        address=lines[1],
        statement=statement,
        uri=reader.take(_URI_LABEL, _URI),
        version=reader.take(_VERSION_LABEL, _VERSION),
        chain_id=reader.take(_CHAIN_ID_LABEL, _CHAIN_ID),
        nonce=reader.take(_NONCE_LABEL, _NONCE),
        issued_at=reader.take_time(_ISSUED_AT_LABEL),
        expiration_time=reader.take_time(_EXPIRATION_TIME_LABEL),
        not_before=reader.take_time(_NOT_BEFORE_LABEL),
        request_id=reader.take(_REQUEST_ID_LABEL, _REQUEST_ID),
        resources=reader.take_resources(),
    )
    reader.finish()
    return message


def _split(rest: list[str]) -> tuple[str | None, list[str]]:
    """The statement, and the lines of the fields, from the lines after the address."""
    if not rest:
        return None, []
    if rest[0] or len(rest) == 1:
        raise MalformedMessage("an empty line and at least one more have to follow the address")
    body = rest[1:]
    if body[0] == "":
        return None, _require_fields(body[1:])
    if body[1:2] == [""]:
        return _statement(body[0]), _require_fields(body[2:])
    if len(body) == 1 and not _is_field(body[0]):
        return _statement(body[0]), []
    return None, body


def _require_fields(fields: list[str]) -> list[str]:
    if not fields:
        raise MalformedMessage("an empty line is at the end")
    return fields


def _statement(line: str) -> str:
    if not _STATEMENT.fullmatch(line):
        raise MalformedMessage("the statement has characters that it may not have")
    return line


def _is_field(line: str) -> bool:
    return line == _RESOURCES or any(line.startswith(f"{label}: ") for label in _LABELS)


class _FieldReader:
    """Reads labelled lines in order. A field that is not on the next line is absent."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._next = 0

    def take(self, label: str, pattern: re.Pattern[str]) -> str | None:
        start = f"{label}: "
        if self._next == len(self._lines) or not self._lines[self._next].startswith(start):
            return None
        value = self._lines[self._next].removeprefix(start)
        if not pattern.fullmatch(value):
            raise MalformedMessage(f"{label} is not valid")
        self._next += 1
        return value

    def take_time(self, label: str) -> datetime | None:
        value = self.take(label, RFC3339)
        if value is None:
            return None
        try:
            return utc_from_rfc3339(value)
        except ValueError as error:
            raise MalformedMessage(f"{label} is not a time") from error

    def take_resources(self) -> tuple[str, ...] | None:
        if self._next == len(self._lines) or self._lines[self._next] != _RESOURCES:
            return None
        uris = [line.removeprefix("- ") for line in self._lines[self._next + 1 :]]
        if uris != [line[2:] for line in self._lines[self._next + 1 :]] or not all(map(_URI.fullmatch, uris)):
            raise MalformedMessage("Resources are not lines of '- ' and a URI")
        self._next = len(self._lines)
        return tuple(uris)

    def finish(self) -> None:
        if self._next < len(self._lines):
            raise MalformedMessage(
                f"line {self._next + 1} of the fields is unknown, repeated or out of order"
            )


def _rfc3339(time: datetime | None) -> str | None:
    if time is None:
        return None
    precision = "microseconds" if time.microsecond % 1000 else "milliseconds"
    return time.astimezone(UTC).isoformat(timespec=precision).removesuffix("+00:00") + "Z"

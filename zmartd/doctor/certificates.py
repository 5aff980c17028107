"""Until when a certificate is valid. Python's ssl says it only of verified ones."""

from __future__ import annotations

import calendar
import re
import ssl
import time
from pathlib import Path
from typing import Final

_BLOCK: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0


class UnreadableCertificate(ValueError):
    """It is not an X.509 certificate."""


def file_end(file: Path) -> float:
    """The Unix time at which the first certificate of a PEM file ends that does.

    Raises UnreadableCertificate, OSError.
    """
    blocks = _BLOCK.findall(file.read_text(encoding="utf-8", errors="replace"))
    if not blocks:
        raise UnreadableCertificate
    try:
        return min(valid_until(ssl.PEM_cert_to_DER_cert(block)) for block in blocks)
    except ValueError as error:
        raise UnreadableCertificate from error


def valid_until(der: bytes) -> float:
    """The Unix time at which a certificate ends (RFC 5280, 4.1). Raises UnreadableCertificate."""
    try:
        content = _inside(_inside(der, _SEQUENCE), _SEQUENCE)
        fields = _elements(content)
        # version, if given, then serial number, algorithm, issuer, validity
        place = 4 if fields[0][0] == _VERSION else 3
        tag, validity = fields[place]
        if tag != _SEQUENCE:
            raise UnreadableCertificate
        (_, _), (kind, end) = _elements(validity)
        return _time(kind, end.decode("ascii"))
    except (IndexError, ValueError) as error:
        raise UnreadableCertificate from error


def _time(kind: int, text: str) -> float:
    if kind == _UTC_TIME:
        century = "19" if int(text[:2]) >= 50 else "20"
        text = century + text
    elif kind != _GENERALIZED_TIME:
        raise UnreadableCertificate
    return float(calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ")))


def _inside(data: bytes, tag: int) -> bytes:
    found, content = _elements(data)[0]
    if found != tag:
        raise UnreadableCertificate
    return content


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """The elements of DER that stand one after the other: tag and content of each."""
    found, at = [], 0
    while at < len(data):
        tag, length, start = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, start = int.from_bytes(data[start : start + size], "big"), start + size
        if start + length > len(data):
            raise UnreadableCertificate
        found.append((tag, data[start : start + length]))
        at = start + length
    return found

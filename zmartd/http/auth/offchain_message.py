"""Reads what a wallet signed: plain text, or text in the envelope of Solana's off-chain messages.

Hardware wallets sign nothing that could be a transaction. They put a preamble before the text, and sign both:

    version 0               0, application domain (32 bytes), format, signers, length, text
    version 0, older form   0, format, length, text
    version 1               1, signers, text
    version 1, as a draft   1, signers, length, text

Each stands after `\\xffsolana offchain`. Signers are their number in one byte, then 32 bytes each; the length
is that of the text, 16 bits, little-endian. Version 0 is Agave's proposal "Off-chain message signing", its
older form that of the crate solana-offchain-message and of Ledger's app before 1.8. Version 1 is sRFC 38; its
draft is in firmware of Ledger's. People are shown the text, so the application domain may be any.

No signature of one kind can be used as one of another: the first byte of a transaction's message is the
number of its signatures, or 0x80 plus its version, and neither is ever 0xff. A sign-in text begins with a
character above 0x20, and so many signatures are longer than a transaction may be.
"""

from __future__ import annotations

from msgspec import Struct

SIGNING_DOMAIN = b"\xffsolana offchain"
MAX_PREAMBLE_BYTES = len(SIGNING_DOMAIN) + 1 + 32 + 1 + 1 + 32 + 2

_FORMATS = frozenset({0, 1, 2})
"""Printable ASCII and line feeds; UTF-8 for hardware wallets; UTF-8."""
_DOMAIN_BYTES = 32
_KEY_BYTES = 32


class MalformedEnvelope(ValueError):
    """The bytes are no text and no off-chain message with one signer. The message says why."""


class SignedText(Struct, frozen=True):
    """A text that was signed. `signer`: the public key that its envelope names; None if it names none."""

    text: str
    signer: bytes | None


def read_signed_text(signed: bytes) -> SignedText:
    """The text in the bytes that a wallet signed. Raises MalformedEnvelope."""
    if not signed.startswith(SIGNING_DOMAIN[:1]):
        return SignedText(_decode(signed), None)
    if not signed.startswith(SIGNING_DOMAIN):
        raise MalformedEnvelope("it begins with the byte 0xff, but not with `\\xffsolana offchain`")
    preamble = _Preamble(signed[len(SIGNING_DOMAIN) :])
    version = preamble.number(1)
    if version == 0:
        return _version_0(preamble)
    if version == 1:
        return _version_1(preamble)
    raise MalformedEnvelope(f"the envelope has version {version}; only 0 and 1 are known")


class _Preamble:
    """Takes the parts of a preamble off the bytes in `rest`."""

    def __init__(self, rest: bytes) -> None:
        self.rest = rest

    def take(self, size: int) -> bytes:
        if len(self.rest) < size:
            raise MalformedEnvelope("the envelope ends before its text")
        part, self.rest = self.rest[:size], self.rest[size:]
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def format(self) -> None:
        """Take the format, which has to be a known one."""
        if (found := self.number(1)) not in _FORMATS:
            raise MalformedEnvelope(f"the envelope has format {found}; only 0, 1 and 2 are known")

    def signer(self) -> bytes:
        """Take the signers: a signature by one of several would not be all that the envelope asks for."""
        if (count := self.number(1)) != 1:
            raise MalformedEnvelope(f"the envelope names {count} signers; it has to name the wallet alone")
        return self.take(_KEY_BYTES)

    def length(self) -> None:
        """Take the length, which has to be that of the text after it."""
        if (length := self.number(2)) != len(self.rest):
            raise MalformedEnvelope(f"the envelope says {length} bytes of text and has {len(self.rest)}")


def _version_0(preamble: _Preamble) -> SignedText:
    # In the older form a character of the text is at this place. That of a sign-in is never a control
    # character, since its first line is longer.
    has_domain = not _FORMATS.isdisjoint(preamble.rest[_DOMAIN_BYTES : _DOMAIN_BYTES + 1])
    if has_domain:
        preamble.take(_DOMAIN_BYTES)
    preamble.format()
    signer = preamble.signer() if has_domain else None
    preamble.length()
    return SignedText(_decode(preamble.rest), signer)


def _version_1(preamble: _Preamble) -> SignedText:
    signer = preamble.signer()
    # Two characters of text would be a length of more than 8 000 bytes, which no sign-in has.
    if int.from_bytes(preamble.rest[:2], "little") == len(preamble.rest) - 2:
        preamble.length()
    return SignedText(_decode(preamble.rest), signer)


def _decode(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise MalformedEnvelope("the text is not UTF-8") from error

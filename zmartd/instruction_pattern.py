"""Which instructions a setting means: those of a program, told apart by how their data begins.

A pattern is written

- `PROGRAM` for every instruction of that program,
- `PROGRAM:HEX` for those whose data begins with these bytes,
- `PROGRAM:HEX-HEX` for those whose data begins with these bytes or what is between them,
- `PROGRAM:none` for those without data.

PROGRAM is an address in base58; HEX is 1 to 8 bytes in lower-case hexadecimal.
"""

from __future__ import annotations

import re

from msgspec import Struct
from solders.pubkey import Pubkey

FORM = (
    "write PROGRAM, PROGRAM:HEX, PROGRAM:HEX-HEX or PROGRAM:none, with an address in base58 and the 1 to 8 "
    "bytes with which the data begins in hexadecimal"
)
MAX_BEGINNING_BYTES = 8
"""The length of Anchor's discriminators, the longest in use."""

_BEGINNINGS = re.compile(r"((?:[0-9a-f]{2}){1,8})(?:-((?:[0-9a-f]{2}){1,8}))?")
_NO_DATA = "none"


class InstructionPattern(Struct, frozen=True):
    """Instructions of `program` whose data begins with `first`, `last` or what is between them.

    Without `first` any data will do; with `is_bare` there must be none.
    """

    text: str
    program: Pubkey
    first: bytes = b""
    last: bytes = b""
    is_bare: bool = False

    def matches(self, program: Pubkey, data: bytes) -> bool:
        if program != self.program:
            return False
        if self.is_bare:
            return not data
        beginning = data[: len(self.first)]
        return len(beginning) == len(self.first) and self.first <= beginning <= self.last


def read(text: str) -> InstructionPattern:
    """The pattern that `text` writes. Raises ValueError with what is expected."""
    address, colon, beginnings = text.partition(":")
    try:
        program = Pubkey.from_string(address)
    except ValueError:
        raise ValueError(FORM) from None
    if not colon:
        return InstructionPattern(text, program)
    if beginnings == _NO_DATA:
        return InstructionPattern(text, program, is_bare=True)
    written = _BEGINNINGS.fullmatch(beginnings)
    if written is None:
        raise ValueError(FORM)
    first = bytes.fromhex(written[1])
    last = first if written[2] is None else bytes.fromhex(written[2])
    if len(first) != len(last) or first > last:
        raise ValueError(f"{FORM}; the second HEX of a range is as long as the first, and not below it")
    return InstructionPattern(text, program, first, last)

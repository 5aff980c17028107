"""The scalar types of requests and responses, with their JSON schemas.

A request type is a class with `parse`, which returns the value or raises ValueError. A response type is an
annotation of a JSON type (`zmartd.market.json_fields`), some with a function that makes the value.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar, Final, Self

from zmartd.market import ids, json_fields
from zmartd.market.iso_time import utc_from_rfc3339
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE, U64_MAX
from zmartd.text.https_urls import require_https_url
from zmartd.text.readable import readable, readable_line

_RAW_CHARACTERS = 16
"""A text may come this many times longer than it may be: white space and what cannot be seen is left out, and
letters are composed."""

Amount = json_fields.Amount
Commitment = json_fields.Commitment
MarketKey = json_fields.MarketKey
Price = json_fields.Price
PriceChange = json_fields.PriceChange
SignedAmount = json_fields.SignedAmount
StateName = json_fields.StateName
Time = json_fields.Time
ServerTime = json_fields.ServerTime
EitherTime = json_fields.EitherTime


def amount(units: int) -> str:
    """Lamports or shares as decimal digits, since a number in JavaScript cannot hold 64 bits."""
    return str(units)


def price(fixed_point: int) -> float:
    """A fixed-point price (`lmsr.SCALE` = 1.0) as a float from 0 to 1."""
    return fixed_point / SCALE


MEANING: Final = "x-meaning"
"""In the schema of a type of requests: what a field of it is for, which the field's description says."""


class Field:
    """The base of request types. Handlers get the plain type that a subclass also derives from."""

    schema: ClassVar[dict[str, Any]]
    """Its JSON schema."""

    @classmethod
    def parse(cls, raw: Any) -> Self:
        """The value of `raw`: decoded JSON, or text of a query. Raises ValueError."""
        raise NotImplementedError


class U64(Field, int):
    """A whole number of lamports or share units from `minimum` to `maximum`, a number or decimal string."""

    minimum: ClassVar[int] = 0
    maximum: ClassVar[int] = U64_MAX
    schema: ClassVar[dict[str, Any]] = {
        "oneOf": [
            {"type": "integer", "minimum": minimum, "maximum": maximum},
            {"type": "string", "pattern": "^[0-9]{1,20}$"},
        ]
    }

    def __init_subclass__(cls) -> None:
        number, digits = U64.schema["oneOf"]
        cls.schema = {"oneOf": [number | {"minimum": cls.minimum, "maximum": cls.maximum}, digits]}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) <= 20:
            number = int(raw)
        elif isinstance(raw, int) and not isinstance(raw, bool):
            number = raw
        else:
            raise ValueError("not a whole number")
        if not cls.minimum <= number <= cls.maximum:
            raise ValueError("out of range")
        return cls(number)


class Text(Field, str):
    """Text for people, made `readable`: `min_length` to `max_length` characters."""

    min_length: ClassVar[int] = 0
    max_length: ClassVar[int] = 0
    read: ClassVar[Callable[[str], str]] = staticmethod(readable)
    schema: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        cls.schema = {"type": "string", "minLength": cls.min_length, "maxLength": cls.max_length}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if not isinstance(raw, str) or len(raw) > _RAW_CHARACTERS * cls.max_length:
            raise ValueError("not a text of that length")
        text = cls.read(raw)
        if not cls.min_length <= len(text) <= cls.max_length:
            raise ValueError("not a text of that length")
        return cls(text)


class Line(Text):
    """Text on one line."""

    read: ClassVar[Callable[[str], str]] = staticmethod(readable_line)


class Base64(Field, bytes):
    """1 to `max_bytes` bytes, in base64 with padding (RFC 4648, section 4)."""

    max_bytes: ClassVar[int]
    schema: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        cls.schema = {
            "type": "string",
            "pattern": "^[A-Za-z0-9+/]+={0,2}$",
            "minLength": 4,
            "maxLength": cls._max_length(),
            "contentEncoding": "base64",
        }

    @classmethod
    def _max_length(cls) -> int:
        return (cls.max_bytes + 2) // 3 * 4

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if not isinstance(raw, str) or not 4 <= len(raw) <= cls._max_length():
            raise ValueError("not a text of that length")
        return cls(base64.b64decode(raw, validate=True))


class MarketRef(Field, str):
    """A market's id (64 hexadecimal digits) or its address."""

    schema: ClassVar[dict[str, Any]] = {
        "type": "string",
        "pattern": "^([0-9a-f]{64}|[1-9A-HJ-NP-Za-km-z]{32,44})$",
    }

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if not isinstance(raw, str) or not (ids.is_market_id(raw.lower()) or ids.is_address(raw)):
            raise ValueError("neither a market id nor an address")
        return cls(raw.lower() if ids.is_market_id(raw.lower()) else raw)


class MarketId(Field, str):
    """A market id: 64 hexadecimal digits."""

    schema: ClassVar[dict[str, Any]] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if not isinstance(raw, str) or not ids.is_market_id(raw.lower()):
            raise ValueError("not a market id")
        return cls(raw.lower())


class Wallet(Field, str):
    """A wallet's address, base58 of 32 bytes."""

    schema: ClassVar[dict[str, Any]] = {"type": "string", "pattern": "^[1-9A-HJ-NP-Za-km-z]{32,44}$"}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if not isinstance(raw, str) or not ids.is_address(raw):
            raise ValueError("not an address")
        return cls(raw)


class Signature(Field, str):
    """A transaction's signature, base58 of 64 bytes."""

    schema: ClassVar[dict[str, Any]] = {"type": "string", "pattern": "^[1-9A-HJ-NP-Za-km-z]{64,88}$"}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if not isinstance(raw, str) or len(raw) > 88 or len(ids.base58_decode(raw)) != 64:
            raise ValueError("not a signature")
        return cls(raw)


class HttpsUrl(Field, str):
    """An https URL without a user."""

    schema: ClassVar[dict[str, Any]] = {
        "type": "string",
        "pattern": "^https://[A-Za-z0-9._~:/?#\\[\\]@!$&'()*+,;=%-]+$",
        "maxLength": 500,
    }

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if not isinstance(raw, str) or len(raw) > 500:
            raise ValueError("not a URL")
        require_https_url(raw)
        return cls(raw)


class ContentId(Field, str):
    """An IPFS content id of version 0, the only version that fits the program's 46 bytes."""

    schema: ClassVar[dict[str, Any]] = {"type": "string", "pattern": "^Qm[1-9A-HJ-NP-Za-km-z]{44}$"}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if not isinstance(raw, str) or not ids.is_cid_v0(raw):
            raise ValueError("not a CIDv0")
        return cls(raw)


class AnyContentId(Field, str):
    """An IPFS content id of version 0, or of version 1 in base32 for the same block; read as version 0."""

    schema: ClassVar[dict[str, Any]] = {
        "type": "string",
        "pattern": "^(Qm[1-9A-HJ-NP-Za-km-z]{44}|bafybei[a-z2-7]{52})$",
    }

    @classmethod
    def parse(cls, raw: Any) -> Self:
        return cls(ids.as_cid_v0(str(raw)))


class State(Field, int):
    """A market state by its name or its number."""

    schema: ClassVar[dict[str, Any]] = {
        "enum": [*(state.name for state in MarketState), *(str(state.value) for state in MarketState)]
    }

    @classmethod
    def parse(cls, raw: Any) -> Self:
        text = str(raw).upper()
        if text in MarketState.__members__:
            return cls(MarketState[text])
        if text.isascii() and text.isdigit() and len(text) == 1:
            return cls(MarketState(int(text)))
        raise ValueError("not a market state")


class Category(Field, str):
    """What a market is about."""

    ALL: ClassVar[tuple[str, ...]] = (
        "crypto",
        "politics",
        "sports",
        "technology",
        "finance",
        "science",
        "entertainment",
        "other",
    )
    schema: ClassVar[dict[str, Any]] = {"enum": [*ALL, "tech"]}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        name = raw.lower() if isinstance(raw, str) else raw
        name = "technology" if name == "tech" else name
        if name not in cls.ALL:
            raise ValueError("not a category")
        return cls(name)


class DateTime(Field, datetime):
    """A time with its offset from UTC, RFC 3339."""

    schema: ClassVar[dict[str, Any]] = {"type": "string", "format": "date-time"}

    @classmethod
    def parse(cls, raw: Any) -> Self:
        if not isinstance(raw, str) or len(raw) > 40:
            raise ValueError("not a time")
        moment = utc_from_rfc3339(raw)
        return cls.combine(moment.date(), moment.timetz())

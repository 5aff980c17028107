"""The limits of a quoted trade, carried by the caller from the quote to the relay.

A wallet signs a purchase whose instruction has no number of shares, so the relay has to be told how many it
must bring. A quote therefore comes with a `protection`: the trade, what was asked for and the limits,
authenticated by the daemons' shared secret. It is not bound to one transaction: a wallet may sign the same
trade with a newer blockhash, or with other instructions beside it. Quotes cost nothing, so nothing of them is
stored: whichever daemon gets the signed transaction reads the limits from the protection that comes with it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from solders.pubkey import Pubkey

from zmartd.chain.interface import BuyShares, SellShares
from zmartd.errors import DetailedError, ZmartdError
from zmartd.market.json_fields import Amount, MarketKey, Price
from zmartd.market.orders import Order

MAX_LENGTH = 512
"""The most characters of a protection; they have about 250."""
_MAC_BYTES = 16


class InvalidProtection(ZmartdError):
    """This is no protection that the API has answered with."""

    code = "invalid_protection"


FreshQuote = Annotated[
    Any,
    Meta(
        extra_json_schema={
            "anyOf": [
                *({"$ref": f"#/components/schemas/{name}"} for name in ("BuyBody", "SellBody")),
                {"type": "null"},
            ]
        }
    ),
]
"""The answer of POST /api/trades/buy or sell, or None. It is made above this room, so its type is named."""


class PriceMovedDetails(Struct, frozen=True, kw_only=True):
    """What a trade that was not sent is about. Of a transaction with several trades, only the first two."""

    signature: str
    """The signature of the transaction that was not sent, base58."""
    shares: Amount | UnsetType = UNSET
    """The share units that its purchases would bring now; left out where the program refuses the trade."""
    limit: Literal["min_shares", "target_cost", "min_proceeds"] | UnsetType = UNSET
    """The limit that it would break: the field beside this one that is named so."""
    min_shares: Amount | UnsetType = UNSET
    """The least share units of a purchase."""
    target_cost: Amount | UnsetType = UNSET
    """The most lamports that a purchase costs, fees included."""
    min_proceeds: Amount | UnsetType = UNSET
    """The least lamports that a sale brings, after fees."""
    market_id: MarketKey | UnsetType = UNSET
    price: Price | UnsetType = UNSET
    """The present price of the outcome that is traded."""
    fresh: FreshQuote | UnsetType = UNSET
    """The same order at the present price, with its transaction; null where that would break a limit that the
    caller stated, and where the transaction came without `protection`."""


class PriceMoved(DetailedError[PriceMovedDetails]):
    """The price has moved beyond a limit of this trade since it was quoted, and nothing was sent."""

    code = "price_moved"


class Trade(Struct, frozen=True):
    """A trade in a transaction: its accounts, and the arguments of its instruction."""

    market: Pubkey
    position: Pubkey
    arguments: BuyShares | SellShares

    def key(self) -> bytes:
        """The same for two trades that do the same for the same wallet."""
        content = bytes(self.position) + msgspec.msgpack.encode(self.arguments)
        return hashlib.sha256(content).digest()


class Protection(Struct, frozen=True, array_like=True):
    """What a quote promised for the trade with this key."""

    trade: bytes
    order: Order
    """What was asked for: a quote at another price is made from it."""
    min_shares: int | None
    """The least share units that a purchase brings; None for a sale, whose instruction has its limit."""


class Protections:
    """Writes protections that every daemon with the same secrets reads."""

    def __init__(self, secrets: Sequence[str], audience: str) -> None:
        """The first of `secrets` writes; the others are read as well."""
        self._audience = audience
        self.rotate(secrets)

    def rotate(self, secrets: Sequence[str]) -> None:
        """Use these secrets from now on."""
        self._keys = [
            hmac.digest(secret.encode(), f"protections for {self._audience}".encode(), "sha256")
            for secret in secrets
        ]

    def seal(self, protection: Protection) -> str:
        """The text for the caller, base64 for URLs."""
        content = msgspec.msgpack.encode(protection)
        return base64.urlsafe_b64encode(_mac(self._keys[0], content) + content).decode()

    def open(self, text: str) -> Protection:
        """Raises InvalidProtection."""
        try:
            raw = base64.b64decode(text, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidProtection from error
        mac, content = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not any(hmac.compare_digest(mac, _mac(key, content)) for key in self._keys):
            raise InvalidProtection
        try:
            return msgspec.msgpack.decode(content, type=Protection)
        except msgspec.DecodeError as error:  # of a daemon of another version
            raise InvalidProtection from error


def _mac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")[:_MAC_BYTES]

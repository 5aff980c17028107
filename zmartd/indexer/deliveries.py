"""What a webhook delivers: a transaction or an array of them, of which each is read on its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from zmartd.chain.arguments import MalformedTransaction
from zmartd.chain.raw import Signature, Unsigned63
from zmartd.chain.transactions import ChainTransaction, is_signature
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.store.inbox import Delivery
from zmartd.store.unverified import Claim

MAX_TRANSACTIONS = 1_000
"""Per delivery; Helius usually sends one."""

_MAX_REASON_LENGTH = 300

Decoded = TypeVar("Decoded")

log = get_logger(__name__)


class MalformedDelivery(ZmartdError):
    """A delivery must be a JSON object or an array of at most 1000: transactions in Helius' raw form."""

    code = "malformed_delivery"


class DeliveryContent(Struct, frozen=True):
    """What a delivery holds: transactions to apply, claims to verify, and what is wrong with the rest, if
    anything."""

    delivery: Delivery
    transactions: tuple[ChainTransaction, ...]
    claims: tuple[Claim, ...]
    garbage: str | None


def read_delivery(delivery: Delivery, parse: Callable[[msgspec.Raw], ChainTransaction]) -> DeliveryContent:
    """Read a delivery with `parse`. A transaction that cannot be read takes none of the others with it.

    It is claimed by its signature; if it does not even say which it is, it is garbage.
    """
    transactions: list[ChainTransaction] = []
    claims: list[Claim] = []
    garbage: list[str] = []
    try:
        elements = transactions_of(delivery.body)
    except MalformedDelivery as error:
        return DeliveryContent(delivery, (), (), error.message)
    for number, raw in enumerate(elements, start=1):
        try:
            transactions.append(parse(raw))
            continue
        except MalformedTransaction as error:
            reason = error.message[:_MAX_REASON_LENGTH]
        except Exception as error:
            log.exception("inbox.unreadable", delivery=delivery.id)
            reason = f"{type(error).__name__}: {error}"[:_MAX_REASON_LENGTH]
        claim = _claim(raw, reason)
        if claim is None:
            garbage.append(f"transaction {number} of {len(elements)}: {reason}")
        else:
            claims.append(claim)
    more = f" ({len(garbage) - 1} more like it)" if len(garbage) > 1 else ""
    return DeliveryContent(
        delivery, tuple(transactions), tuple(claims), garbage[0] + more if garbage else None
    )


class _ClaimedSigned(Struct, gc=False):
    signatures: Annotated[list[Signature], Meta(min_length=1)]


class _Claimed(Struct, gc=False):
    """What is left of a transaction that cannot be read: enough to ask the node for it."""

    slot: Unsigned63
    transaction: _ClaimedSigned


_CLAIMED = msgspec.json.Decoder(_Claimed)


def _claim(raw: msgspec.Raw, reason: str) -> Claim | None:
    """The claim of a transaction that cannot be read; None if it does not even say which it is."""
    try:
        claimed = _CLAIMED.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    signature = claimed.transaction.signatures[0]
    if not is_signature(signature):
        return None
    return Claim(signature, claimed.slot, f"it cannot be read: {reason}", unreadable=True)


class _Object(msgspec.Struct, gc=False):
    """Any JSON object; its members are skipped."""


_AtMost = Meta(max_length=MAX_TRANSACTIONS)
_OBJECTS = msgspec.json.Decoder(_Object | Annotated[list[_Object], _AtMost])
_ELEMENTS = msgspec.json.Decoder(Annotated[list[msgspec.Raw], _AtMost])


def transactions_of(body: bytes) -> list[msgspec.Raw]:
    """The JSON of each transaction of a delivery, which is an object or an array of objects.

    Raises MalformedDelivery. Does not check whether an element is a transaction.
    """
    if body.lstrip().startswith(b"["):
        return _decoded(body, _ELEMENTS)
    return [msgspec.Raw(body)]


def count_transactions(body: bytes) -> int:
    """The number of transactions in a delivery, without parsing them. Raises MalformedDelivery."""
    objects = _decoded(body, _OBJECTS)
    return len(objects) if isinstance(objects, list) else 1


def _decoded(body: bytes, decoder: msgspec.json.Decoder[Decoded]) -> Decoded:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedDelivery(f"{MalformedDelivery.meaning()} {error}.") from error

"""POST /helius/webhook: stores the transactions that Helius delivers before it acknowledges them."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from msgspec import Struct

from zmartd.http.errors.requests import (
    BodyTooLarge,
    UnsupportedMediaType,
    WebhookBusy,
    WebhookRefusedTooOften,
    WebhookTooSlow,
    WebhookUnauthorized,
)
from zmartd.http.kit import keys
from zmartd.http.kit.operation import MACHINES_TAG, Access, Call, Operation, Quota
from zmartd.http.machines.webhook_verification import DELIVERY_VERIFIER
from zmartd.indexer.deliveries import MalformedDelivery

Delivery = dict[str, Any] | list[dict[str, Any]]
"""One raw transaction, as the RPC method `getTransaction` returns it, or a list of them.

It is the only body that may have fields which nobody here reads: what Helius and nodes send grows.
"""


class Received(Struct, frozen=True):
    """The acknowledgement: the delivery is stored, and will be applied even if this daemon stops."""

    received: bool
    """Always true: a delivery that is not stored gets an error."""
    transactions: int
    """The number of transactions in the delivery."""


async def webhook(call: Call[bytes]) -> Received:
    transactions = await call.app[keys.INBOX].accept(call.input)
    return Received(received=True, transactions=transactions)


async def _read_verified(request: web.Request) -> bytes:
    return await request.app[DELIVERY_VERIFIER].read_verified(request)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="POST",
        path="/helius/webhook",
        handler=webhook,
        name="receive_webhook",
        summary="Receive transactions from Helius",
        tag=MACHINES_TAG,
        quota=Quota.NONE,
        verify=_read_verified,
        verified_body=Delivery,
        responses={200: Received},
        errors=(
            WebhookUnauthorized,
            WebhookRefusedTooOften,
            WebhookBusy,
            WebhookTooSlow,
            MalformedDelivery,
            BodyTooLarge,
            UnsupportedMediaType,
        ),
        access=Access.HELIUS,
    ),
)

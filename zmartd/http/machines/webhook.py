"""POST /helius/webhook: transactions that Helius delivers, committed before they are acknowledged."""

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
from zmartd.http.machines.webhook_verification import DELIVERIES
from zmartd.indexer.inbox import MalformedDelivery

Delivery = dict[str, Any] | list[dict[str, Any]]
"""One transaction or several, raw: as `getTransaction` of a node shows them."""


class Received(Struct, frozen=True):
    """The acknowledgement: the delivery is committed and will be applied, whatever happens to this daemon."""

    received: bool
    """Always true: what is not kept is answered with an error."""
    transactions: int
    """How many transactions the delivery held."""


async def webhook(call: Call[bytes]) -> Received:
    transactions = await call.app[keys.INBOX].accept(call.input)
    return Received(received=True, transactions=transactions)


async def _verified_body(request: web.Request) -> bytes:
    return await request.app[DELIVERIES].body_of(request)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="POST",
        path="/helius/webhook",
        handler=webhook,
        summary="Transactions that Helius delivers",
        tag=MACHINES_TAG,
        quota=Quota.NOTHING,
        proof=_verified_body,
        proof_body=Delivery,
        answers={200: Received},
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

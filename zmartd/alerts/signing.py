"""Signatures of Standard Webhooks, version 1: an HMAC-SHA256 of id, time and body.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Iterable

from zmartd.config_values import WebhookSecret

VERSION = "v1"


def signed_headers(
    secrets: Iterable[WebhookSecret], message_id: str, unix_seconds: int, body: bytes
) -> dict[str, str]:
    """The headers of a message: its id, when it is sent, and a signature with each key that is set."""
    signed = f"{message_id}.{unix_seconds}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(unix_seconds),
        "webhook-signature": " ".join(
            f"{VERSION},{b64encode(hmac.digest(secret.key, signed, hashlib.sha256)).decode()}"
            for secret in secrets
            if secret
        ),
    }

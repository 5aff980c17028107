"""Verifies ed25519 signatures of messages by wallets."""

from __future__ import annotations

import base64
import binascii

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from zmartd.http.errors.auth import BadSignature
from zmartd.market.ids import base58_decode

SIGNATURE_BYTES = 64
_LONGEST_BASE58 = 88


def decode_signature(text: str) -> bytes:
    """The 64 bytes of a signature in base58, or in padded base64. Raises BadSignature.

    Base64 of 64 bytes ends in `==`, which base58 cannot contain.
    """
    if len(text) > _LONGEST_BASE58:
        raise BadSignature
    try:
        if text.endswith("=="):
            raw = base64.b64decode(text, validate=True)
            canonical = base64.b64encode(raw).decode() == text
        else:
            raw = base58_decode(text)
            canonical = True
    except (ValueError, binascii.Error) as error:
        raise BadSignature from error
    if len(raw) != SIGNATURE_BYTES or not canonical:
        raise BadSignature
    return raw


def require_signature(wallet: str, message: bytes, signature: bytes) -> None:
    """Raises BadSignature unless `wallet` (a base58 address) signed exactly these bytes.

    An address off the curve, such as a PDA, cannot sign.
    """
    try:
        VerifyKey(base58_decode(wallet)).verify(message, signature)
    except (BadSignatureError, ValueError) as error:
        raise BadSignature from error

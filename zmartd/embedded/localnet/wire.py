"""Transactions and messages as clients send them: legacy and version 0."""

from __future__ import annotations

from solders.message import Message, MessageV0, from_bytes_versioned
from solders.transaction import VersionedTransaction

from zmartd.embedded.localnet.errors import InvalidParams
from zmartd.embedded.localnet.params import WireEncoding, decode_bytes

MAX_TRANSACTION_BYTES = 1232
"""The most bytes of one packet."""
_MAX_BYTES_OF_ANY_VERSION = 4096
"""Those of version 1 (SIMD-0385), which is refused by its name and not by its length."""
_VERSION_PREFIX, _VERSION = 0x80, 0x7F
_SIGNATURE_BYTES = 64


def read_transaction(text: str, encoding: WireEncoding) -> VersionedTransaction:
    """Raises InvalidParams where it cannot be decoded, is of another version, or contradicts itself."""
    data = decode_bytes("transaction", text, encoding, _MAX_BYTES_OF_ANY_VERSION)
    # Signatures come first, with their number; in version 1 its prefix does, and signatures come last.
    has_prefix = bool(data) and data[0] >= _VERSION_PREFIX
    _require_version(data if has_prefix or not data else data[1 + data[0] * _SIGNATURE_BYTES :])
    _require_length("transaction", data)
    try:
        transaction = VersionedTransaction.from_bytes(data)
    except ValueError as error:
        raise InvalidParams(f"failed to deserialize transaction: {error}") from None
    try:
        transaction.sanitize()
    except Exception as error:  # solders raises its own SanitizeError, which is not exported as a type
        raise InvalidParams(f"invalid transaction: {error}") from None
    return transaction


def read_message(text: str) -> Message | MessageV0:
    """A message in base64. Raises InvalidParams as `read_transaction`."""
    data = decode_bytes("message", text, "base64", _MAX_BYTES_OF_ANY_VERSION)
    _require_version(data)
    _require_length("message", data)
    try:
        return from_bytes_versioned(data)
    except ValueError as error:
        raise InvalidParams(f"failed to deserialize message: {error}") from None


def _require_version(message: bytes) -> None:
    version = message[0] & _VERSION if message and message[0] >= _VERSION_PREFIX else 0
    if version:
        raise InvalidParams(
            f"invalid transaction: Transaction version is unsupported: this is version {version}, and this"
            " localnet executes legacy and version 0 transactions. Sign a version 0 transaction"
        )


def _require_length(name: str, data: bytes) -> None:
    if len(data) > MAX_TRANSACTION_BYTES:
        raise InvalidParams(
            f"decoded {name} too large: {len(data)} bytes (max: {MAX_TRANSACTION_BYTES} bytes)"
        )

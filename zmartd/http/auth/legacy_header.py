"""The signed header that an earlier frontend sends with every request instead of a session token:

    Authorization: Signature message=<URL-encoded>&signature=<base58>&wallet=<base58>

The message is `Sign in to ZMART`, a line feed, and `Timestamp: <milliseconds since 1970>`. Whoever sees the
header can replay it for an hour, at any site, so it identifies a reader and must not move money. Signing out
everywhere ends it early.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from zmartd.http.auth.signatures import decode_signature, require_signature
from zmartd.http.errors.auth import AuthExpired, BadMessage
from zmartd.market.ids import is_address

SCHEME = "Signature"
MAX_LENGTH = 1_024
MAX_AGE_SECONDS = 3_600
MAX_AHEAD_SECONDS = 300

_FIELDS = ["message", "signature", "wallet"]
_MESSAGE = re.compile(r"Sign in to ZMART\nTimestamp: ([0-9]{13})")


def verify(credentials: str, now: float) -> tuple[str, float]:
    """The wallet that signed `credentials`, the header after its scheme, and when (unix seconds, its clock).

    Raises BadMessage, BadSignature, AuthExpired.
    """
    fields = _parse(credentials)
    message, wallet = fields["message"], fields["wallet"]
    found = _MESSAGE.fullmatch(message)
    if found is None or not is_address(wallet):
        raise BadMessage
    require_signature(wallet, message.encode(), decode_signature(fields["signature"]))
    signed_at = int(found[1]) / 1000
    if signed_at > now + MAX_AHEAD_SECONDS:
        raise AuthExpired("The signed timestamp is in the future; check the clock of the wallet's device.")
    if signed_at < now - MAX_AGE_SECONDS:
        raise AuthExpired("The signed timestamp is too old; sign again.")
    return wallet, signed_at


def _parse(credentials: str) -> dict[str, str]:
    if len(credentials) > MAX_LENGTH:
        raise BadMessage
    pairs = [part.partition("=") for part in credentials.split("&")]
    if sorted(name for name, _, _ in pairs) != _FIELDS:
        raise BadMessage("Send message, signature and wallet in the header, each once.")
    try:
        return {name: unquote(value, errors="strict") for name, _, value in pairs}
    except UnicodeDecodeError as error:
        raise BadMessage from error

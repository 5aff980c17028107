"""How a webhook delivery proves that it comes from where the webhook was registered."""

from __future__ import annotations

import hashlib
import hmac

from zmartd.config import ConfigError, Helius, Secret, Settings

SIGNATURE_HEADER = "x-helius-signature"


class Credentials:
    """What a delivery may prove its origin with; during a rotation the previous value counts as well."""

    def __init__(self, settings: Helius) -> None:
        self._authorizations = _revealed(settings.authorization, settings.authorization_previous)
        self._accepted = [prefix + known for known in self._authorizations for prefix in (b"", b"Bearer ")]
        self._hmac_keys = _revealed(settings.hmac_secret, settings.hmac_secret_previous)

    @property
    def configured(self) -> bool:
        return bool(self._authorizations or self._hmac_keys)

    @property
    def signed(self) -> bool:
        """Whether a delivery may prove its origin with an HMAC."""
        return bool(self._hmac_keys)

    def authorize(self, header: str) -> bool:
        """Whether the Authorization header is the value that the webhook was registered with."""
        given = header.encode("utf-8", "surrogateescape")
        found = False
        for known in self._accepted:
            found |= hmac.compare_digest(given, known)
        return found

    def verify(self, header: str, body: bytes) -> bool:
        """Whether the signature header is the hexadecimal HMAC-SHA256 of exactly these bytes."""
        given = header.strip().removeprefix("sha256=").lower().encode("utf-8", "surrogateescape")
        expected = [hmac.new(key, body, hashlib.sha256).hexdigest().encode() for key in self._hmac_keys]
        return any(hmac.compare_digest(given, value) for value in expected)


def require_webhook_secret(settings: Settings) -> None:
    """Refuse to start where anybody could write into the inbox.

    Without a secret the webhook is open, which only a development daemon on the loopback address may be.
    Raises ConfigError.
    """
    if not settings.server.is_for_this_machine and not Credentials(settings.helius).configured:
        raise ConfigError(
            [
                "helius.authorization: set it to the Authorization value that the webhook was registered "
                "with at Helius (or helius.hmac_secret for a relay that signs); without either, anybody "
                "could tell this daemon what happened on the chain"
            ]
        )


def _revealed(*secrets: Secret) -> list[bytes]:
    return [secret.reveal().encode() for secret in secrets if secret]

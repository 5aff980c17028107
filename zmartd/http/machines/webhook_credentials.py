"""The credentials of webhook deliveries: the registered Authorization value, or an HMAC of the body."""

from __future__ import annotations

import hashlib
import hmac

from zmartd.config import HeliusSettings, Settings
from zmartd.config_values import ConfigError, Secret

SIGNATURE_HEADER = "x-helius-signature"


class WebhookCredentials:
    """Checks credentials against the settings; during a rotation also against the previous values."""

    def __init__(self, settings: HeliusSettings) -> None:
        self._authorizations = _revealed(settings.authorization, settings.authorization_previous)
        self._accepted = [prefix + known for known in self._authorizations for prefix in (b"", b"Bearer ")]
        self._hmac_keys = _revealed(settings.hmac_secret, settings.hmac_secret_previous)

    @property
    def configured(self) -> bool:
        return bool(self._authorizations or self._hmac_keys)

    @property
    def accepts_hmac(self) -> bool:
        """Whether an HMAC key is configured."""
        return bool(self._hmac_keys)

    def authorize(self, header: str) -> bool:
        """Whether `header`, the Authorization, is the value that the webhook was registered with."""
        given = header.encode("utf-8", "surrogateescape")
        found = False
        for known in self._accepted:
            found |= hmac.compare_digest(given, known)
        return found

    def verify(self, header: str, body: bytes) -> bool:
        """Whether `header`, the x-helius-signature, is the hexadecimal HMAC-SHA256 of exactly these bytes."""
        given = header.strip().removeprefix("sha256=").lower().encode("utf-8", "surrogateescape")
        expected = [hmac.new(key, body, hashlib.sha256).hexdigest().encode() for key in self._hmac_keys]
        return any(hmac.compare_digest(given, value) for value in expected)


def require_webhook_secret(settings: Settings) -> None:
    """Raises ConfigError where no credential is configured, so that anybody could write into the inbox.

    Only a daemon that serves this machine alone may go without.
    """
    if not settings.server.is_for_this_machine and not WebhookCredentials(settings.helius).configured:
        raise ConfigError(
            [
                "helius.authorization: set it to the Authorization value that the webhook was registered "
                "with at Helius (or helius.hmac_secret for a relay that signs); without either, anybody "
                "could send this daemon false transactions"
            ]
        )


def _revealed(*secrets: Secret) -> list[bytes]:
    return [secret.reveal().encode() for secret in secrets if secret]

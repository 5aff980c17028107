"""Nonces for sign-in messages: issued by any daemon, valid once on any daemon, for a few minutes.

A nonce contains the time of its issue, and a MAC of the daemon over it and the wallet that it is for. So
issuing one stores nothing. Only its use is stored, and to use one takes the key of a wallet.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable

from zmartd.clock import Clock
from zmartd.config import AuthSettings
from zmartd.http.auth.revocations import Revocations
from zmartd.http.auth.signing_secrets import signing_secrets
from zmartd.http.auth.tokens import LEEWAY_SECONDS
from zmartd.store.revocations import EVERYTHING

_ANY_WALLET = ""
_MAC_DIGITS = 32
"""128 bits."""
_FORMAT = re.compile(rf"([A-Za-z0-9]+)([0-9a-f]{{8}})([0-9a-f]{{{_MAC_DIGITS}}})")
"""Random text, the unix second of issue in hexadecimal, and the MAC; letters and digits as SIWS requires."""


class Nonces:
    """Issues and consumes nonces for `audience`. Raises ConfigError as `signing_secrets` does."""

    def __init__(
        self,
        settings: AuthSettings,
        audience: str,
        revocations: Revocations,
        clock: Clock,
        new_random: Callable[[], str],
    ) -> None:
        self._audience = audience
        self.rotate(settings)
        self._lifetime_seconds = settings.nonce_seconds
        self._revocations = revocations
        self._clock = clock
        self._new_random = new_random

    def rotate(self, settings: AuthSettings) -> None:
        """Use these secrets from now on. Raises ConfigError as `signing_secrets` does."""
        # Derived keys, so that no MAC of a nonce is the signature of a token.
        self._keys = [
            hmac.digest(secret.encode(), f"nonces for {self._audience}".encode(), "sha256")
            for secret in signing_secrets(settings)
        ]

    def issue(self, wallet: str | None) -> str:
        """A nonce for `wallet`, or for any wallet if None."""
        signed = f"{self._new_random()}{int(self._clock.time()):08x}"
        return signed + _mac(self._keys[0], signed, wallet or _ANY_WALLET)

    async def consume(self, nonce: str, wallet: str) -> bool:
        """Use a nonce up. False unless it was issued for `wallet`, has not expired and has not been used.

        Raises SessionsUnavailable.
        """
        found = _FORMAT.fullmatch(nonce)
        if found is None:
            return False
        random, issued_at, code = found.groups()
        # By the clock of the daemon that issued it, which may be behind.
        expires_at = int(issued_at, 16) + self._lifetime_seconds + LEEWAY_SECONDS
        if expires_at <= self._clock.time() or not self._is_authentic(random + issued_at, code, wallet):
            return False
        return await self._revocations.revoke(f"nonce:{nonce}", EVERYTHING, expires_at)

    def _is_authentic(self, signed: str, code: str, wallet: str) -> bool:
        return any(
            hmac.compare_digest(code, _mac(key, signed, issued_to))
            for key in self._keys
            for issued_to in (wallet, _ANY_WALLET)
        )


def _mac(key: bytes, signed: str, wallet: str) -> str:
    return hmac.digest(key, f"{signed} {wallet}".encode(), "sha256").hex()[:_MAC_DIGITS]

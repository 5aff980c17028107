"""Nonces for sign-in messages: issued by any daemon, good for one sign-in on any daemon, for a few minutes.

A nonce says itself when it was issued, and is signed by the daemon together with the wallet that it is for.
So asking for one leaves nothing behind: only its use is written down, and to use one takes a wallet's key.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable

from zmartd.clock import Clock
from zmartd.config import Auth
from zmartd.http.auth.revocations import Revocations
from zmartd.http.auth.signing_secrets import signing_secrets
from zmartd.store.revocations import EVERYTHING

_ANY_WALLET = ""
_MAC_DIGITS = 32
"""128 bits."""
_FORM = re.compile(rf"([A-Za-z0-9]+)([0-9a-f]{{8}})([0-9a-f]{{{_MAC_DIGITS}}})")
"""Something random, the second of issue, and the code that signs both: letters and digits, as SIWS has it."""


class Nonces:
    """Nonces for `audience`. Raises ConfigError as `signing_secrets` does."""

    def __init__(
        self,
        settings: Auth,
        audience: str,
        revocations: Revocations,
        clock: Clock,
        new_random: Callable[[], str],
    ) -> None:
        # Keys of their own, so that no nonce is ever a token's signature.
        self._keys = [
            hmac.digest(secret.encode(), f"nonces for {audience}".encode(), "sha256")
            for secret in signing_secrets(settings)
        ]
        self._lifetime_seconds = settings.nonce_seconds
        self._revocations = revocations
        self._clock = clock
        self._new_random = new_random

    def issue(self, wallet: str | None) -> str:
        """A nonce that `wallet` may use, or anybody when it is None."""
        signed = f"{self._new_random()}{int(self._clock.time()):08x}"
        return signed + _code(self._keys[0], signed, wallet or _ANY_WALLET)

    async def spend(self, nonce: str, wallet: str) -> bool:
        """Use up a nonce. Whether it had been issued to `wallet` not too long ago, and had not been used.

        Raises SessionsUnavailable.
        """
        found = _FORM.fullmatch(nonce)
        if found is None:
            return False
        random, issued_at, code = found.groups()
        expires_at = int(issued_at, 16) + self._lifetime_seconds
        if expires_at <= self._clock.time() or not self._is_ours(random + issued_at, code, wallet):
            return False
        return await self._revocations.revoke(f"nonce:{nonce}", EVERYTHING, expires_at)

    def _is_ours(self, signed: str, code: str, wallet: str) -> bool:
        return any(
            hmac.compare_digest(code, _code(key, signed, issued_to))
            for key in self._keys
            for issued_to in (wallet, _ANY_WALLET)
        )


def _code(key: bytes, signed: str, wallet: str) -> str:
    return hmac.digest(key, f"{signed} {wallet}".encode(), "sha256").hex()[:_MAC_DIGITS]

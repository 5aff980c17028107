"""A wallet that signs what it is given, and a clock for judging when."""

from __future__ import annotations

from nacl.signing import SigningKey

from zmartd.market.ids import base58_encode


class SigningWallet:
    def __init__(self, seed: int) -> None:
        self._key = SigningKey(bytes([seed]) * 32)
        self.address = base58_encode(bytes(self._key.verify_key))

    @property
    def public_key(self) -> bytes:
        return bytes(self._key.verify_key)

    def sign(self, text: str | bytes) -> bytes:
        return self._key.sign(text.encode() if isinstance(text, str) else text).signature

    def sign_base58(self, text: str | bytes) -> str:
        return base58_encode(self.sign(text))


class FixedClock:
    """Time that moves when a test says so."""

    def __init__(self, now: float = 1_772_366_400.0) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

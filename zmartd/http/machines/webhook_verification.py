"""Which webhook deliveries are let into the inbox, and what those that are not may cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from aiohttp import hdrs, web

from zmartd.config import ConfigError, Helius
from zmartd.errors import ZmartdError
from zmartd.http.errors.requests import WebhookRefusedTooOften, WebhookTooSlow, WebhookUnauthorized
from zmartd.http.kit.client_address import client_of
from zmartd.http.kit.codec import decompressed, read_body, read_raw
from zmartd.http.machines.body_memory import LARGEST_SHARE, BodyMemory
from zmartd.http.machines.webhook_credentials import SIGNATURE_HEADER, Credentials
from zmartd.http.middleware.rate_limiter import HOUR_SECONDS, MINUTE_SECONDS, RateLimiter, Rates


class Refusals:
    """Counts the deliveries of each address that proved nothing, and refuses more than so many in a minute.

    Without a limiter nothing is counted.
    """

    def __init__(self, limiter: RateLimiter | None, per_minute: int) -> None:
        self._limiter = limiter
        # The hour is never what refuses.
        self._rates = Rates(per_minute, per_minute * HOUR_SECONDS // MINUTE_SECONDS)

    def used_up(self, caller: str) -> bool:
        """Whether one more would be too many."""
        return self._limiter is not None and self._limiter.is_used_up(_account(caller))

    async def count(self, caller: str) -> None:
        """Count one more. Raises WebhookRefusedTooOften."""
        if self._limiter is None:
            return
        standing = await self._limiter.count([(_account(caller), self._rates)])
        if not standing.admitted:
            raise WebhookRefusedTooOften(standing.reset_seconds)


class Deliveries:
    """Tells deliveries that prove their origin from those that do not.

    Comparing an Authorization value costs nothing, so a delivery with the right one is accepted however many
    of its address were refused, and one without is refused before any of its body is read. For an HMAC the
    whole body is needed: it is read within a share of memory and time, and not at all for an address of which
    too many were refused. A delivery that only others left no room for counts as no refusal of its address.
    """

    def __init__(self, settings: Helius, refusals: Refusals) -> None:
        """Raises ConfigError where one address' share of the memory is less than the largest delivery."""
        self._credentials = Credentials(settings)
        self._refusals = refusals
        self._max_body_bytes = settings.max_body_bytes
        self._unproven_seconds = settings.unproven_seconds
        self.memory = BodyMemory(settings.unproven_bytes)
        needed = LARGEST_SHARE * settings.max_body_bytes
        if self._credentials.signed and settings.unproven_bytes < needed:
            raise ConfigError(
                [
                    "helius.unproven_bytes: half of it, the share of one address, is less than the largest "
                    f"delivery; set it to {needed} or more, or lower helius.max_body_bytes"
                ]
            )

    async def body_of(self, request: web.Request) -> bytes:
        """The body of a delivery that proved its origin.

        Raises WebhookUnauthorized, WebhookRefusedTooOften, WebhookBusy, WebhookTooSlow, BodyTooLarge,
        UnsupportedMediaType, InvalidHttp.
        """
        credentials, headers = self._credentials, request.headers
        if not credentials.configured or credentials.authorize(headers.get(hdrs.AUTHORIZATION, "")):
            return await read_body(request, self._max_body_bytes)
        caller = client_of(request)
        signature = headers.get(SIGNATURE_HEADER)
        if credentials.signed and signature is not None and not self._refusals.used_up(caller):
            signed = await self._signed_body(request, caller, signature)
            if signed is not None:
                return decompressed(request, signed, self._max_body_bytes)
        await self._refusals.count(caller)
        raise WebhookUnauthorized

    async def _signed_body(self, request: web.Request, caller: str, signature: str) -> bytes | None:
        """The body as it was sent if `signature` is right, else None.

        Raises WebhookBusy, or what is wrong with the body; counts as refused where memory was taken, unless
        others hold what it needed.
        """
        try:
            with self.memory.body(caller) as body:
                raw = await self._in_time(read_raw(request, self._max_body_bytes, body.take))
                return raw if self._credentials.verify(signature, raw) else None
        except ZmartdError:
            if body.taken_bytes and not body.crowded_out:
                await self._refusals.count(caller)
            raise

    async def _in_time(self, reading: Awaitable[bytes]) -> bytes:
        try:
            async with asyncio.timeout(self._unproven_seconds):
                return await reading
        except TimeoutError as error:
            raise WebhookTooSlow from error


DELIVERIES: Final[web.AppKey[Deliveries]] = web.AppKey("deliveries")


def _account(caller: str) -> str:
    return f"refused-delivery:{caller}"

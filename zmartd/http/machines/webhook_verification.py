"""Verifies that webhook deliveries come from Helius, and limits what those that do not can cost.

A client is here a whole site, an IPv4 address or an IPv6 /48: two of them could take all the memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import hdrs, web

from zmartd.config import HeliusSettings
from zmartd.config_values import ConfigError
from zmartd.errors import ZmartdError
from zmartd.http.errors.requests import (
    WebhookBusy,
    WebhookRefusedTooOften,
    WebhookTooSlow,
    WebhookUnauthorized,
)
from zmartd.http.kit.client_address import client_of, site_of
from zmartd.http.kit.codec import decompress, read_body, read_raw
from zmartd.http.machines.webhook_credentials import SIGNATURE_HEADER, WebhookCredentials
from zmartd.http.middleware.rate_limiter import HOUR_SECONDS, MINUTE_SECONDS, RateLimiter, WindowLimits

CLIENT_FRACTION = 2
"""One client may use one part in so many of the memory for unverified bodies: half."""
UNCOUNTED_BYTES = 65_536
"""The start of each body does not count towards the memory: other routes read as much from anybody. Usual
deliveries are shorter, so they are read even when the memory is full."""


class RefusedDeliveryLimit:
    """Limits how many deliveries of one site a minute may be refused. Without a limiter there is no limit."""

    def __init__(self, limiter: RateLimiter | None, per_minute: int) -> None:
        self._limiter = limiter
        # High enough that the hour never refuses.
        self._limits = WindowLimits(per_minute, per_minute * HOUR_SECONDS // MINUTE_SECONDS)

    def is_exhausted(self, client: str) -> bool:
        """Whether one more would be too many."""
        return self._limiter is not None and self._limiter.is_exhausted(_bucket_key(client))

    async def count(self, client: str) -> None:
        """Count a refused delivery. Raises WebhookRefusedTooOften."""
        if self._limiter is None:
            return
        limit = await self._limiter.count([(_bucket_key(client), self._limits)])
        if not limit.allowed:
            raise WebhookRefusedTooOften(limit.reset_seconds)


class UnverifiedBodies:
    """Counts the bytes in memory of bodies that are not verified yet, beyond UNCOUNTED_BYTES of each.

    Memory is bounded by UNCOUNTED_BYTES for each open connection, and `capacity_bytes` for all together.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._client_capacity = capacity_bytes // CLIENT_FRACTION
        self._by_client: Counter[str] = Counter()
        self.counted_bytes = 0
        self.total_bytes = 0
        """Including what is not counted."""

    @contextmanager
    def reservation(self, client: str) -> Iterator[BodyReservation]:
        """Memory for one body of `client`, released at the end of the block."""
        body = BodyReservation(self, client)
        try:
            yield body
        finally:
            self.add(client, total=-body.reserved_bytes, counted=-_counted(body.reserved_bytes))

    def fits(self, more: int) -> bool:
        return self.counted_bytes + more <= self._capacity

    def fits_client(self, client: str, more: int) -> bool:
        return self._by_client[client] + more <= self._client_capacity

    def add(self, client: str, *, total: int, counted: int) -> None:
        self.total_bytes += total
        self.counted_bytes += counted
        self._by_client[client] += counted
        if not self._by_client[client]:
            del self._by_client[client]


class BodyReservation:
    """The memory reserved for one body while it is read."""

    def __init__(self, bodies: UnverifiedBodies, client: str) -> None:
        self._bodies = bodies
        self._client = client
        self.reserved_bytes = 0
        """Keeps its value after the reservation is released."""
        self.blocked_by_others = False
        """Whether it did not fit because of the bodies of other clients."""

    def reserve(self, more: int) -> None:
        """Reserve so many more bytes. Raises WebhookBusy."""
        counted = _counted(self.reserved_bytes + more) - _counted(self.reserved_bytes)
        if counted:
            if not self._bodies.fits_client(self._client, counted):
                raise WebhookBusy
            if not self._bodies.fits(counted):
                self.blocked_by_others = True
                raise WebhookBusy
        self._bodies.add(self._client, total=more, counted=counted)
        self.reserved_bytes += more


def _counted(length: int) -> int:
    """How many of a body's first `length` bytes count."""
    return max(0, length - UNCOUNTED_BYTES)


def require_room_for_bodies(settings: HeliusSettings) -> None:
    """Raises ConfigError where one client's part of the memory is smaller than the largest delivery.

    Only deliveries with an HMAC are read before they are verified.
    """
    needed = CLIENT_FRACTION * settings.max_body_bytes
    if WebhookCredentials(settings).accepts_hmac and settings.unproven_bytes < needed:
        raise ConfigError(
            [
                "helius.unproven_bytes: half of it, the share of one address, is less than the largest "
                f"delivery; set it to {needed} or more, or lower helius.max_body_bytes"
            ]
        )


class DeliveryVerifier:
    """Reads the bodies of deliveries that prove their origin, and refuses others.

    Comparing an Authorization value is cheap. So a delivery with the right one is accepted however many from
    its address were refused, and one without is refused before its body is read. An HMAC needs the whole
    body: it is read within limits of memory and time, and not at all once too many from its address were
    refused. A delivery that did not fit only because of others does not count as refused.
    """

    def __init__(self, settings: HeliusSettings, refused: RefusedDeliveryLimit) -> None:
        """Raises ConfigError as `require_room_for_bodies` does."""
        require_room_for_bodies(settings)
        self._credentials = WebhookCredentials(settings)
        self._refused = refused
        self._max_body_bytes = settings.max_body_bytes
        self._timeout_seconds = settings.unproven_seconds
        self.unverified = UnverifiedBodies(settings.unproven_bytes)

    def rotate(self, settings: HeliusSettings) -> None:
        """Accept these credentials from now on. Raises ConfigError as `require_room_for_bodies` does."""
        require_room_for_bodies(settings)
        self._credentials = WebhookCredentials(settings)

    async def read_verified(self, request: web.Request) -> bytes:
        """The decompressed body of a delivery that proves its origin.

        Raises WebhookUnauthorized, WebhookRefusedTooOften, WebhookBusy, WebhookTooSlow, BodyTooLarge,
        UnsupportedMediaType, InvalidHttp.
        """
        credentials, headers = self._credentials, request.headers
        if not credentials.configured or credentials.authorize(headers.get(hdrs.AUTHORIZATION, "")):
            return await read_body(request, self._max_body_bytes)
        client = site_of(client_of(request))
        signature = headers.get(SIGNATURE_HEADER)
        if credentials.accepts_hmac and signature is not None and not self._refused.is_exhausted(client):
            raw = await self._read_signed(request, client, signature)
            if raw is not None:
                return decompress(request, raw, self._max_body_bytes)
        await self._refused.count(client)
        raise WebhookUnauthorized

    async def _read_signed(self, request: web.Request, client: str, signature: str) -> bytes | None:
        """The body as it was sent; None if `signature` is not its HMAC.

        Raises WebhookBusy, or the error of the body. Counts it as refused if memory was reserved, unless it
        was blocked by others.
        """
        with self.unverified.reservation(client) as body:
            try:
                raw = await self._in_time(read_raw(request, self._max_body_bytes, body.reserve))
                return raw if self._credentials.verify(signature, raw) else None
            except ZmartdError:
                # Before the memory is free again: it is not to be had anew without having been counted.
                if body.reserved_bytes and not body.blocked_by_others:
                    await self._refused.count(client)
                raise

    async def _in_time(self, reading: Awaitable[bytes]) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await reading
        except TimeoutError as error:
            raise WebhookTooSlow from error


DELIVERY_VERIFIER: Final[web.AppKey[DeliveryVerifier]] = web.AppKey("delivery_verifier")


def _bucket_key(client: str) -> str:
    return f"refused-delivery:{client}"

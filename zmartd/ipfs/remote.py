"""Requests to services of others, which may be slow, refuse, lie about sizes, or ask to be left alone."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import cache
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from zmartd import endpoint
from zmartd.clock import Clock
from zmartd.config_values import Secret, ServiceUrl
from zmartd.errors import ZmartdError
from zmartd.metrics import Counter

MAX_ATTEMPTS: Final = 6
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 30.0
LONGEST_QUIET_SECONDS: Final = 3_600.0
"""For so long at most a service is left alone that asks for it: a mistake of one answer must not last."""
MAX_ANSWER_BYTES: Final = 65_536
"""Of an answer that is about a document, and not the document itself."""

_WORTH_ANOTHER: Final = frozenset({408, 425, 429})
_NO_ACCESS: Final = frozenset({401, 402, 403})

FAILURES = Counter(
    "zmartd_ipfs_failures",
    "Requests to IPFS services that failed, or were answered wrongly.",
    ["service", "reason"],
)


class RemoteFailed(ZmartdError):
    """A service for IPFS documents did not do what it was asked for."""

    code = "ipfs_service_failed"


class RemoteUnavailable(RemoteFailed):
    """A service for IPFS documents does not answer; the next run tries again."""

    code = "ipfs_service_unavailable"


class RemoteRefused(RemoteFailed):
    """A service for IPFS documents refused a request."""

    code = "ipfs_service_refused"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class AccessRefused(RemoteRefused):
    """A service for IPFS documents does not accept the token or the account."""

    code = "ipfs_access_refused"


class _Transient(Exception):
    """Worth another attempt."""

    def __init__(self, reason: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class Remote:
    """One service. While it asks to be left alone, nobody asks it.

    It follows no redirects: they could lead to what only this machine can reach, and take the token along.
    """

    def __init__(
        self,
        name: str,
        url: ServiceUrl,
        *,
        clock: Clock,
        rng: random.Random,
        attempt_seconds: float,
        token: Secret = Secret(),  # noqa: B008 - it does not change
    ) -> None:
        """`name` is the service's in messages and metrics, `url` is not empty."""
        self.name = name
        base, _, self._query = url.reveal().partition("?")
        self._base = base.rstrip("/")
        self._clock = clock
        self._rng = rng
        self._attempt_seconds = attempt_seconds
        self._quiet_until = clock.monotonic()
        self._client = httpx.AsyncClient(
            headers={"Accept-Encoding": "identity"}
            | ({"Authorization": f"Bearer {token.reveal()}"} if token else {}),
            timeout=attempt_seconds,
            verify=_certificate_authorities(),
            follow_redirects=False,
            # A proxy that the environment names cannot reach this machine's own ports.
            trust_env=not endpoint.is_loopback_url(url.reveal()),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._client.aclose()

    def count_failure(self, reason: str) -> None:
        """Count an answer that is wrong by what it says."""
        FAILURES.labels(self.name, reason).inc()

    async def call(
        self,
        method: str,
        path: str,
        *,
        until: float,
        max_bytes: int = MAX_ANSWER_BYTES,
        query: Mapping[str, str] = {},
        **content: Any,
    ) -> bytes:
        """The body of a successful answer. No attempt begins after `until`, a time of the monotonic clock.

        Raises RemoteUnavailable when no attempt succeeds, RemoteRefused for what another would not change.
        """
        last = _Transient("no time was left for a request")
        for attempt in range(MAX_ATTEMPTS):
            if not await self._wait(attempt, until):
                break
            try:
                async with asyncio.timeout(self._attempt_seconds):
                    return await self._attempt(method, self._url(path, query), max_bytes, content)
            except _Transient as error:
                last = error
            except TimeoutError:
                last = _Transient("timeout")
            self.count_failure(last.reason)
            quiet_seconds = min(last.retry_after_seconds, LONGEST_QUIET_SECONDS)
            self._quiet_until = max(self._quiet_until, self._clock.monotonic() + quiet_seconds)
        raise RemoteUnavailable(f"{self.name} does not answer: {last.reason}; the next run tries again")

    async def _wait(self, attempt: int, until: float) -> bool:
        """Wait before an attempt; False where `until` comes first."""
        pause = 0.0
        if attempt:
            longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1))
            pause = longest * self._rng.uniform(0.5, 1.0)
        start = max(self._clock.monotonic() + pause, self._quiet_until)
        while (left := max(start, self._quiet_until) - self._clock.monotonic()) > 0:
            if max(start, self._quiet_until) > until:
                return False
            await self._clock.sleep(left)
        return self._clock.monotonic() <= until

    async def _attempt(self, method: str, url: str, max_bytes: int, content: Mapping[str, Any]) -> bytes:
        """Exceptions of the HTTP client hold the URL, which may hold a key: none of them is passed on."""
        body = bytearray()
        try:
            async with self._client.stream(method, url, **content) as response:
                self._require_success(response)
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > max_bytes:
                        self.count_failure("too large")
                        raise RemoteFailed(f"{self.name} answers with more than {max_bytes} bytes")
        except httpx.TimeoutException:
            raise _Transient("timeout") from None
        except httpx.HTTPError as error:
            raise _Transient(endpoint.reason(error)) from None
        return bytes(body)

    def _require_success(self, response: httpx.Response) -> None:
        status = response.status_code
        if response.is_success:
            return
        if status in _WORTH_ANOTHER or response.is_server_error:
            raise _Transient(f"HTTP {status}", self._retry_after_seconds(response))
        self.count_failure(f"HTTP {status}")
        if status in _NO_ACCESS:
            message = f"{self.name} answers HTTP {status}: check the token and the account"
            raise AccessRefused(message, status)
        raise RemoteRefused(f"{self.name} refuses the request: HTTP {status}", status)

    def _retry_after_seconds(self, response: httpx.Response) -> float:
        """For how long the service wants to be left alone, in either form of the header."""
        header: str = response.headers.get("Retry-After", "").strip()
        if header.isascii() and header.isdecimal():
            return float(header[:9])
        try:
            return max(0.0, parsedate_to_datetime(header).timestamp() - self._clock.time())
        except (ValueError, OverflowError):
            return 0.0

    def _url(self, path: str, query: Mapping[str, str]) -> str:
        asked = "&".join(f"{name}={quote(value, safe=',')}" for name, value in query.items())
        queries = "&".join(filter(None, (self._query, asked)))
        return f"{self._base}{path}{'?' if queries else ''}{queries}"


@cache
def _certificate_authorities() -> ssl.SSLContext:
    """Those that httpx trusts, read once: that takes as long as a hundred requests."""
    return httpx.create_ssl_context()

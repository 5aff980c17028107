"""Who is told of alerts: the log, a signed webhook, a chat; and one attempt to tell each.

No redirect is followed, and nothing of an answer is read but its head: its status decides. The URLs are
secrets, and no error or log line has a part of them.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Final

import httpx
import msgspec

from zmartd import endpoint
from zmartd.alert_settings import AlertSettings
from zmartd.alerts.messages import chat_text, decoded
from zmartd.alerts.signing import signed_headers
from zmartd.clock import Clock
from zmartd.config_values import ConfigError, ServiceUrl
from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.metrics import Counter

LOG: Final = "log"
WEBHOOK: Final = "webhook"
SLACK: Final = "slack"
MAX_RETRY_AFTER_SECONDS: Final = 3_600.0

DELIVERIES: Final = Counter(
    "zmartd_alert_deliveries", "Attempts to deliver a message about an alert.", ["receiver", "outcome"]
)

log = get_logger(__name__)


class NotDelivered(ZmartdError):
    """A message about an alert did not arrive."""

    code = "alert_not_delivered"

    def __init__(self, reason: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds
        """For how long the receiver wants to be left alone."""


def urls(settings: AlertSettings) -> dict[str, ServiceUrl]:
    """The receivers that are reached over HTTP, by name."""
    return {name: url for name, url in ((WEBHOOK, settings.webhook.url), (SLACK, settings.slack.url)) if url}


def names(settings: AlertSettings) -> tuple[str, ...]:
    """All receivers of these settings."""
    return (LOG, *urls(settings))


def require_secret(settings: AlertSettings) -> None:
    """Raises ConfigError for a webhook whose messages nobody could verify."""
    if settings.webhook.url and not settings.webhook.secret:
        raise ConfigError(
            [
                "alerts.webhook.secret: without it nobody can verify what alerts.webhook.url gets; "
                '`echo "whsec_$(openssl rand -base64 32)"` makes one, which the receiver needs as well'
            ]
        )


class Receivers:
    """The receivers of these settings. `close` it."""

    def __init__(self, settings: AlertSettings, clock: Clock) -> None:
        """Raises ConfigError as `require_secret` does."""
        require_secret(settings)
        self.names = names(settings)
        self._settings = settings
        self._urls = urls(settings)
        self._clock = clock
        self._clients: dict[str, httpx.AsyncClient] = {}

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    async def tell(self, receiver: str, message_id: str, body: str) -> str:
        """Send a message once; gives what the receiver answered, as `HTTP 204`. Raises NotDelivered."""
        try:
            answer = (
                self._log(body, message_id)
                if receiver == LOG
                else await self._post(receiver, message_id, body)
            )
        except NotDelivered:
            DELIVERIES.labels(receiver, "failed").inc()
            raise
        DELIVERIES.labels(receiver, "delivered").inc()
        return answer

    def _log(self, body: str, message_id: str) -> str:
        message = decoded(body)
        data = message.data
        write = log.info if message.type in {"alert.resolved", "alert.test"} else log.error
        write(
            message.type,
            webhook_id=message_id,
            number=data.number,
            rule=data.rule,
            subject=data.subject,
            severity=data.severity,
            summary=data.summary,
            measured=data.measured,
            first_seen=data.first_seen,
            remedy=data.remedy,
        )
        return "written"

    async def _post(self, receiver: str, message_id: str, body: str) -> str:
        if receiver == WEBHOOK:
            content = body.encode()
            webhook = self._settings.webhook
            headers = signed_headers(
                (webhook.secret, webhook.secret_previous), message_id, int(self._clock.time()), content
            )
        else:
            content, headers = msgspec.json.encode({"text": chat_text(decoded(body))}), {}
        try:
            async with asyncio.timeout(self._settings.attempt_seconds):
                return await self._answer(receiver, content, headers)
        except TimeoutError:
            raise NotDelivered(f"no answer within {self._settings.attempt_seconds:g} s") from None

    async def _answer(self, receiver: str, content: bytes, headers: Mapping[str, str]) -> str:
        """Exceptions of the HTTP client hold the URL: none of them is passed on."""
        url = self._urls[receiver].reveal()
        try:
            async with self._client(receiver, url).stream(
                "POST", url, content=content, headers={"Content-Type": "application/json", **headers}
            ) as response:
                answer = f"HTTP {response.status_code}"
                if response.is_success:
                    return answer
                if response.has_redirect_location:
                    answer += ", which leads elsewhere: give the URL that it leads to"
                raise NotDelivered(answer, self._retry_after_seconds(response))
        except httpx.TimeoutException:
            raise NotDelivered("no answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict) as error:
            raise NotDelivered(endpoint.reason(error)) from None

    def _client(self, receiver: str, url: str) -> httpx.AsyncClient:
        client = self._clients.get(receiver)
        if client is None:
            client = self._clients[receiver] = httpx.AsyncClient(
                timeout=self._settings.attempt_seconds,
                verify=certificate_authorities(),
                follow_redirects=False,
                # A proxy that the environment names cannot reach this machine's own ports.
                trust_env=not endpoint.is_loopback_url(url),
                # Messages are rare: a connection that was kept is closed at the other end by then.
                limits=httpx.Limits(max_keepalive_connections=0),
            )
        return client

    def _retry_after_seconds(self, response: httpx.Response) -> float:
        """In either form of the header."""
        header: str = response.headers.get("Retry-After", "").strip()
        if header.isascii() and header.isdecimal():
            return min(float(header[:9]), MAX_RETRY_AFTER_SECONDS)
        try:
            until = parsedate_to_datetime(header).timestamp()
        except (ValueError, OverflowError):
            return 0.0
        return min(max(0.0, until - self._clock.time()), MAX_RETRY_AFTER_SECONDS)


@cache
def certificate_authorities() -> ssl.SSLContext:
    """Those that httpx trusts, read once: that takes as long as a hundred requests."""
    return httpx.create_ssl_context()

"""Webhooks at Helius, by its API: /v0/webhooks, with the key in the query.

The key, and the value that Helius sends as Authorization, are in no error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from enum import Enum
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

import httpx
import msgspec
from msgspec import Struct

from zmartd import endpoint
from zmartd.clock import Clock
from zmartd.config import Settings
from zmartd.config_values import ConfigError, Secret, ServiceUrl
from zmartd.errors import ZmartdError

ATTEMPTS: Final = 5
MAX_WAIT_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 20.0
FIRST_WAIT_SECONDS: Final = 0.5

_KINDS: Final = {"mainnet": "raw", "devnet": "rawDevnet"}
"""Only raw deliveries have the logs in which events are."""
_REFUSALS = {401, 403}
_TOO_MANY = 429


Answer = TypeVar("Answer")


class HeliusUnavailable(ZmartdError):
    """Helius' API cannot be used."""

    code = "helius_unavailable"


class Webhook(Struct, frozen=True, kw_only=True):
    """A webhook as Helius lists it."""

    id: str = msgspec.field(name="webhookID")
    url: str = msgspec.field(name="webhookURL", default="")
    kind: str = msgspec.field(name="webhookType", default="")
    addresses: tuple[str, ...] = msgspec.field(name="accountAddresses", default=())
    transaction_types: tuple[str, ...] = msgspec.field(name="transactionTypes", default=())
    authorization: str | None = msgspec.field(name="authHeader", default=None)
    """What it sends as Authorization; a secret. None where the answer does not say."""
    is_active: bool = msgspec.field(name="active", default=True)
    """Helius turns off a webhook that fails too often."""


class Wanted(Struct, frozen=True, kw_only=True):
    """The webhook that a daemon needs."""

    url: str
    program_id: str
    kind: Literal["raw", "rawDevnet"]
    authorization: Secret

    def lacks(self, webhook: Webhook) -> list[str]:
        """In what a webhook at this URL is not what is needed, in words."""
        found = []
        if webhook.kind != self.kind:
            found.append(f"its type is {webhook.kind or 'unknown'}, not {self.kind}")
        if self.program_id not in webhook.addresses:
            found.append(f"it does not watch {self.program_id}")
        if webhook.authorization is not None and webhook.authorization != self.authorization.reveal():
            found.append("it sends another Authorization than helius.authorization")
        if not webhook.is_active:
            found.append("Helius has turned it off")
        return found


class Change(Enum):
    CREATED = "created"
    CHANGED = "changed"
    NONE = "unchanged"


def kind_of(cluster: str) -> Literal["raw", "rawDevnet"]:
    """The type of webhook for a cluster. Raises HeliusUnavailable for one that Helius does not serve."""
    kind = _KINDS.get(cluster)
    if kind == "raw":
        return "raw"
    if kind == "rawDevnet":
        return "rawDevnet"
    raise HeliusUnavailable(f"Helius has webhooks for mainnet and devnet, and solana.cluster is {cluster}")


def wanted_of(settings: Settings) -> Wanted:
    """The webhook that these settings need. Raises ConfigError, HeliusUnavailable."""
    missing = []
    if not settings.helius.webhook_url:
        missing.append("helius.webhook_url: set it to the public URL, as https://api.example/helius/webhook")
    if not settings.helius.authorization:
        missing.append("helius.authorization: set it, so that deliveries can be told from forged ones")
    if missing:
        raise ConfigError(missing)
    return Wanted(
        url=settings.helius.webhook_url,
        program_id=settings.solana.program_id,
        kind=kind_of(settings.solana.cluster),
        authorization=settings.helius.authorization,
    )


class HeliusWebhooks:
    """The webhooks of an API key. `async with` closes the connection."""

    def __init__(self, url: ServiceUrl, key: Secret, clock: Clock) -> None:
        self._where = endpoint.read(url.reveal(), endpoint.HTTP)
        self._url = url.reveal().partition("?")[0].rstrip("/") + "/v0/webhooks"
        self._key, self._clock = key, clock
        self._client = httpx.AsyncClient(
            timeout=ANSWER_SECONDS, trust_env=not endpoint.is_loopback_url(url.reveal())
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def all(self) -> list[Webhook]:
        """Raises HeliusUnavailable."""
        return self._decoded(await self._ask("GET"), list[Webhook])

    async def register(self, wanted: Wanted, *, again: bool = False) -> tuple[Webhook, Change]:
        """Have the webhook at `wanted.url` be as it is wanted; create it only where there is none.

        What else it watches stays. `again` sends it also where nothing is seen to differ, since Helius may
        not say what it sends as Authorization. Raises HeliusUnavailable.
        """
        content = {
            "webhookURL": wanted.url,
            "webhookType": wanted.kind,
            "transactionTypes": ["ANY"],
            "accountAddresses": [wanted.program_id],
            "authHeader": wanted.authorization.reveal(),
        }
        for attempt in range(ATTEMPTS):
            present = next((one for one in await self.all() if one.url == wanted.url), None)
            if present is not None and not again and not wanted.lacks(present):
                return present, Change.NONE
            if present is not None:
                content["accountAddresses"] = sorted({*present.addresses, wanted.program_id})
                content["transactionTypes"] = list(present.transaction_types) or ["ANY"]
                answer = await self._ask("PUT", f"/{present.id}", content)
                return self._decoded(answer, Webhook), Change.CHANGED
            # An answer that is lost says nothing about whether it was created, so it is looked for again.
            created = await self._once("POST", "", content)
            if created is not None and created.is_success:
                return self._decoded(created, Webhook), Change.CREATED
            self._require_not_refused(created)
            await self._wait(attempt, created)
        raise self._unavailable("it did not create the webhook")

    async def delete(self, webhook_id: str) -> bool:
        """Whether there was such a webhook. Raises HeliusUnavailable."""
        response = await self._ask("DELETE", f"/{webhook_id}", may_be_gone=True)
        return response.status_code != httpx.codes.NOT_FOUND

    async def _ask(
        self,
        method: str,
        path: str = "",
        content: Mapping[str, Any] | None = None,
        *,
        may_be_gone: bool = False,
    ) -> httpx.Response:
        """The answer of success to a request that may be sent again."""
        said = "no answer"
        for attempt in range(ATTEMPTS):
            response = await self._once(method, path, content)
            if response is not None and (
                response.is_success or (may_be_gone and response.status_code == httpx.codes.NOT_FOUND)
            ):
                return response
            self._require_not_refused(response)
            said = "no answer" if response is None else f"HTTP {response.status_code}"
            if attempt < ATTEMPTS - 1:
                await self._wait(attempt, response)
        raise self._unavailable(said)

    async def _once(self, method: str, path: str, content: Mapping[str, Any] | None) -> httpx.Response | None:
        """The answer, or None. Exceptions of the HTTP client hold the URL: none of them is passed on."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._client.request(
                    method, self._url + path, params={"api-key": self._key.reveal()}, json=content
                )
        except (httpx.HTTPError, TimeoutError):
            return None

    async def _wait(self, attempt: int, response: httpx.Response | None) -> None:
        """As long as Helius asks for, else twice as long each time."""
        seconds = FIRST_WAIT_SECONDS * 2**attempt
        asked = response.headers.get("Retry-After", "") if response is not None else ""
        if asked.isascii() and asked.isdecimal():
            seconds = float(asked[:6])
        await self._clock.sleep(min(seconds, MAX_WAIT_SECONDS))

    def _require_not_refused(self, response: httpx.Response | None) -> None:
        """Raises HeliusUnavailable for an answer that would be the same again."""
        if response is None or response.status_code == _TOO_MANY or response.is_server_error:
            return
        if response.status_code in _REFUSALS:
            raise HeliusUnavailable(
                f"Helius refuses helius.api_key (HTTP {response.status_code}): copy it from the dashboard "
                "again"
            )
        raise self._unavailable(f"HTTP {response.status_code}")

    def _unavailable(self, said: str) -> HeliusUnavailable:
        place = ",".join(map(str, self._where.addresses))
        return HeliusUnavailable(f"Helius' API at {place} cannot be used: {said}; try again in a moment")

    def _decoded(self, response: httpx.Response, kind: type[Answer]) -> Answer:
        try:
            return msgspec.json.decode(response.content, type=kind)
        except msgspec.MsgspecError:
            raise self._unavailable("its answer is not what it was") from None


def registered_at(webhooks: Sequence[Webhook], url: str) -> list[Webhook]:
    """Those at this URL. More than one deliver the same things, and cost as much each."""
    return [one for one in webhooks if one.url == url]

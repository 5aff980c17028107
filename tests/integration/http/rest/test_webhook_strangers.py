"""What a stranger can do at the webhook, and what it costs the daemon."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.integration.http.rest.rest_api import AUTHORIZATION, HMAC_KEY, Api, running_api
from zmartd.config import HeliusSettings, RateLimitSettings
from zmartd.config_values import ConfigError, SharedSecret
from zmartd.http.kit.client_address import IPV6_SITE_BITS
from zmartd.http.machines.webhook_verification import (
    DELIVERY_VERIFIER,
    UNCOUNTED_BYTES,
    DeliveryVerifier,
    RefusedDeliveryLimit,
)
from zmartd.store.postgres.database import Database

PER_MINUTE = 4
LARGEST = 4 * UNCOUNTED_BYTES
SETTINGS = HeliusSettings(
    authorization=SharedSecret(AUTHORIZATION),
    hmac_secret=SharedSecret(HMAC_KEY),
    max_body_bytes=LARGEST,
    unproven_bytes=2 * LARGEST,
    unproven_seconds=60.0,
)
PLAIN = HeliusSettings(authorization=SharedSecret(AUTHORIZATION), max_body_bytes=LARGEST)
LIMITS = RateLimitSettings(refused_deliveries_per_minute=PER_MINUTE)
ANSWER_SECONDS = 120
"""Far more than an answer takes, far less than a body of SETTINGS may."""


def signature_of(body: bytes) -> str:
    return hmac.new(HMAC_KEY.encode(), body, hashlib.sha256).hexdigest()


@asynccontextmanager
async def running(database: Database, redis_url: str, helius: HeliusSettings) -> AsyncIterator[Api]:
    async with running_api(database, redis_url, rate_limits=LIMITS, helius=helius) as api:
        yield api


@pytest.fixture
async def api(database: Database, redis_url: str) -> AsyncIterator[Api]:
    async with running(database, redis_url, SETTINGS) as api:
        yield api


class Sender:
    """A delivery of which only a part is sent, from an address behind the trusted proxy."""

    def __init__(self, api: Api, address: str = "192.0.2.1") -> None:
        self._api = api
        self._address = address

    async def __aenter__(self) -> Sender:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._api.client.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    async def begin(self, length: int | None, part: bytes = b"", **headers: str) -> None:
        framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        lines = [
            "POST /helius/webhook HTTP/1.1",
            "Host: localhost",
            f"X-Forwarded-For: {self._address}",
            framing,
            *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        ]
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + part)
        await self._writer.drain()

    async def go_on(self, part: bytes) -> None:
        self._writer.write(part)
        await self._writer.drain()

    async def status(self) -> int:
        async with asyncio.timeout(ANSWER_SECONDS):
            return int((await self._reader.readline()).split()[1])


async def deliver(api: Api, body: bytes, address: str = "192.0.2.1", **headers: str) -> int:
    given = {"X-Forwarded-For": address} | {name.replace("_", "-"): value for name, value in headers.items()}
    return (await api.client.post("/helius/webhook", data=body, headers=given)).status


async def held(api: Api, total_bytes: int) -> None:
    """Return when the daemon holds so much of unproven bodies."""
    memory = api.client.app[DELIVERY_VERIFIER].unverified
    async with asyncio.timeout(ANSWER_SECONDS):
        while memory.total_bytes != total_bytes:  # noqa: ASYNC110 - it is a number in the daemon
            await asyncio.sleep(0)


async def test_of_150_guesses_few_are_told_that_they_are_wrong(database: Database, redis_url: str) -> None:
    async with running_api(database, redis_url, rate_limits=RateLimitSettings()) as api:
        answers = [
            await api.client.post("/helius/webhook", data=b"[]", headers={"Authorization": f"guess {number}"})
            for number in range(150)
        ]
        few = RateLimitSettings().refused_deliveries_per_minute
        assert [answer.status for answer in answers] == [401] * few + [429] * (150 - few)
        refused = answers[-1]
        assert 0 < int(refused.headers["Retry-After"]) <= 60
        assert (await refused.json())["code"] == "webhook_refused_too_often"
        bodies = {len(await answer.read()) for answer in answers[few:]}
        assert len(bodies) <= 2  # the seconds to wait have one digit or two
        assert max(bodies) < 300
        right = await api.client.post("/helius/webhook", data=b"[]", headers={"Authorization": AUTHORIZATION})
        assert right.status == 200


async def test_the_right_value_is_accepted_from_an_address_that_guesses(api: Api) -> None:
    for _ in range(3 * PER_MINUTE):
        await deliver(api, b"[]", Authorization="a guess")
        assert await deliver(api, b"[]", Authorization=AUTHORIZATION) == 200
    assert await deliver(api, b"[]", Authorization="a guess") == 429


@pytest.mark.parametrize(
    ("one", "another"),
    [("192.0.2.1", "192.0.2.2"), ("2001:db8:1::1", "2001:db8:2::1")],
)
async def test_addresses_do_not_pay_for_each_other(api: Api, one: str, another: str) -> None:
    statuses = [await deliver(api, b"[]", address=one) for _ in range(PER_MINUTE + 1)]
    assert statuses == [401] * PER_MINUTE + [429]
    assert await deliver(api, b"[]", address=another) == 401


async def test_neither_a_forged_header_nor_a_network_full_of_addresses_is_more_than_one_caller(
    api: Api,
) -> None:
    forged = [await deliver(api, b"[]", f"198.51.100.{claim}, 192.0.2.1") for claim in range(PER_MINUTE + 1)]
    assert forged == [401] * PER_MINUTE + [429]
    network = [await deliver(api, b"[]", f"2001:db8:0:{claim:x}::1") for claim in range(PER_MINUTE + 1)]
    assert network == [401] * PER_MINUTE + [429]
    assert IPV6_SITE_BITS == 48


@pytest.mark.parametrize("signature", [None, signature_of(b"[]")])
async def test_without_an_hmac_key_no_byte_of_a_strangers_body_is_waited_for(
    database: Database, redis_url: str, signature: str | None
) -> None:
    headers: dict[str, Any] = {} if signature is None else {"x_helius_signature": signature}
    async with running(database, redis_url, PLAIN) as api:
        for _ in range(2):
            async with Sender(api) as stranger:
                await stranger.begin(LARGEST, Authorization="a guess", **headers)
                assert await stranger.status() == 401
                await stranger.go_on(b"x" * LARGEST)
        async with Sender(api) as stranger:
            await stranger.begin(None, **headers)
            assert await stranger.status() == 401
            await stranger.go_on(b"0\r\n\r\n")


async def test_an_address_that_was_refused_too_often_is_not_read_from(api: Api) -> None:
    for _ in range(PER_MINUTE):
        assert await deliver(api, b"[]", x_helius_signature="wrong") == 401
    async with Sender(api) as stranger:
        await stranger.begin(LARGEST, x_helius_signature=signature_of(b"[]"))
        assert await stranger.status() == 429
    assert await deliver(api, b"[]", Authorization=AUTHORIZATION) == 200
    assert await deliver(api, b"[]", "192.0.2.2", x_helius_signature=signature_of(b"[]")) == 200


async def test_ten_strangers_with_large_bodies_fill_no_more_than_the_memory_for_them(api: Api) -> None:
    memory = api.client.app[DELIVERY_VERIFIER].unverified
    most, most_counted = 0, 0
    senders = [Sender(api, f"192.0.2.{number}") for number in range(10)]
    for sender in senders:
        await sender.__aenter__()
        await sender.begin(LARGEST, b"x" * (LARGEST - 1), x_helius_signature=signature_of(b"[]"))
    waiting = {asyncio.create_task(sender.status()) for sender in senders}
    async with asyncio.timeout(ANSWER_SECONDS):
        while len(waiting) > 2:
            most, most_counted = max(most, memory.total_bytes), max(most_counted, memory.counted_bytes)
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert {task.result() for task in done} == {503}
    assert memory.counted_bytes <= most_counted <= 2 * LARGEST
    assert memory.total_bytes <= most <= 2 * LARGEST + len(senders) * UNCOUNTED_BYTES
    for task in waiting:
        task.cancel()
    for sender in senders:
        await sender.__aexit__()
    await held(api, 0)


async def test_one_address_gets_half_of_the_memory_and_another_is_accepted_meanwhile(api: Api) -> None:
    body = b"[" + b" " * (LARGEST - 2) + b"]"
    async with Sender(api) as slow, Sender(api) as more:
        await slow.begin(LARGEST, b"x" * (LARGEST - 1), x_helius_signature=signature_of(body))
        await held(api, LARGEST - 1)
        await more.begin(LARGEST, b"x" * (2 * UNCOUNTED_BYTES + 2), x_helius_signature=signature_of(body))
        assert await more.status() == 503
        assert await deliver(api, body, "192.0.2.2", x_helius_signature=signature_of(body)) == 200
        assert await deliver(api, body, Authorization=AUTHORIZATION) == 200
        await slow.go_on(b"x")
        assert await slow.status() == 401
    await held(api, 0)


async def test_a_usual_delivery_is_accepted_while_strangers_hold_all_the_memory(api: Api) -> None:
    usual = b"[" + b" " * (UNCOUNTED_BYTES - 2) + b"]"
    large = b"[" + b" " * (LARGEST - 2) + b"]"
    memory = api.client.app[DELIVERY_VERIFIER].unverified
    parts = [
        LARGEST - 1,
        2 * UNCOUNTED_BYTES + 1,
    ]  # together a client's share of counted bytes
    async with AsyncExitStack() as strangers:
        for address in ("192.0.2.1", "192.0.2.2"):
            for part in parts:
                stranger = await strangers.enter_async_context(Sender(api, address))
                await stranger.begin(LARGEST, b"x" * part, x_helius_signature="wrong")
        await held(api, 2 * sum(parts))
        assert memory.counted_bytes == SETTINGS.unproven_bytes
        for _ in range(PER_MINUTE + 1):
            async with Sender(api, "192.0.2.3") as crowded_out:
                await crowded_out.begin(LARGEST, large[:1], x_helius_signature=signature_of(large))
                await held(api, 2 * sum(parts) + 1)
                await crowded_out.go_on(large[1:])
                assert await crowded_out.status() == 503
        for address in ("192.0.2.1", "192.0.2.3"):
            assert await deliver(api, usual, address, x_helius_signature=signature_of(usual)) == 200
    await held(api, 0)
    assert memory.counted_bytes == 0


async def test_who_declares_a_body_and_sends_none_takes_no_memory(api: Api) -> None:
    async with Sender(api) as one, Sender(api) as another, Sender(api) as third:
        for sender in (one, another, third):
            await sender.begin(LARGEST, x_helius_signature=signature_of(b"[]"))
        assert await deliver(api, b"[]", x_helius_signature=signature_of(b"[]")) == 200
        assert api.client.app[DELIVERY_VERIFIER].unverified.total_bytes == 0


async def test_a_body_that_comes_too_slowly_is_given_up_and_counts_as_refused(
    database: Database, redis_url: str
) -> None:
    quick = HeliusSettings(hmac_secret=SharedSecret(HMAC_KEY), max_body_bytes=LARGEST, unproven_seconds=0.05)
    async with running(database, redis_url, quick) as api:
        statuses = []
        for _ in range(PER_MINUTE + 2):
            async with Sender(api) as stranger:
                await stranger.begin(2, b"[", x_helius_signature=signature_of(b"[]"))
                statuses.append(await stranger.status())
                await stranger.go_on(b"]")
        assert statuses == [408] * PER_MINUTE + [429] * 2
        await held(api, 0)


async def test_what_breaks_off_counts_as_refused_and_leaves_nothing_behind(api: Api) -> None:
    for _ in range(PER_MINUTE):
        async with Sender(api) as stranger:
            await stranger.begin(LARGEST, b"x", x_helius_signature=signature_of(b"[]"))
            await held(api, 1)
        await held(api, 0)
    assert await deliver(api, b"[]") == 429


async def test_what_is_too_large_counts_as_refused_once_memory_was_taken(api: Api) -> None:
    for _ in range(2 * PER_MINUTE):
        async with Sender(api) as stranger:
            await stranger.begin(LARGEST + 1, x_helius_signature=signature_of(b"[]"))
            assert await stranger.status() == 413
            await stranger.go_on(b"x" * (LARGEST + 1))
    for _ in range(PER_MINUTE):
        async with Sender(api) as stranger:
            await stranger.begin(None, b"1\r\nx\r\n", x_helius_signature=signature_of(b"[]"))
            await held(api, 1)
            await stranger.go_on(b"%x\r\n%s\r\n0\r\n\r\n" % (LARGEST, b"x" * LARGEST))
            assert await stranger.status() == 413
    assert await deliver(api, b"[]") == 429


async def test_who_overflows_the_memory_on_purpose_is_counted_as_refused(api: Api) -> None:
    half = LARGEST // 2 + UNCOUNTED_BYTES
    for _ in range(PER_MINUTE // 2):
        async with Sender(api) as one, Sender(api) as another:
            await one.begin(LARGEST, b"x" * half, x_helius_signature=signature_of(b"[]"))
            await held(api, half)
            await another.begin(LARGEST, b"x" * half, x_helius_signature=signature_of(b"[]"))
            await held(api, 2 * half)
            await one.go_on(b"x")
            assert await one.status() == 503
            await one.go_on(b"x" * (LARGEST - half - 1))
            await another.go_on(b"x" * (LARGEST - half))
            assert await another.status() == 401
    assert await deliver(api, b"[]") == 429


async def test_a_signed_body_is_verified_as_it_was_sent_and_decompressed_only_then(api: Api) -> None:
    bomb = gzip.compress(bytes(10 * LARGEST))
    small = gzip.compress(b"[]")

    async def send(body: bytes, signature: str) -> int:
        return await deliver(api, body, x_helius_signature=signature, Content_Encoding="gzip")

    assert await send(bomb, "wrong") == 401
    assert await send(bomb, signature_of(bomb)) == 413
    assert await send(small, signature_of(b"[]")) == 401
    assert await send(small, signature_of(small)) == 200


def test_memory_that_the_largest_delivery_does_not_fit_into_is_refused_at_start() -> None:
    nothing_counted = RefusedDeliveryLimit(None, 1)
    signed, plain = SharedSecret(HMAC_KEY), SharedSecret(AUTHORIZATION)
    with pytest.raises(ConfigError, match=r"helius\.unproven_bytes: .* set it to 2000 or more"):
        DeliveryVerifier(
            HeliusSettings(hmac_secret=signed, max_body_bytes=1_000, unproven_bytes=1_999), nothing_counted
        )
    DeliveryVerifier(
        HeliusSettings(authorization=plain, max_body_bytes=1_000, unproven_bytes=1_999), nothing_counted
    )
    DeliveryVerifier(HeliusSettings(hmac_secret=signed), nothing_counted)

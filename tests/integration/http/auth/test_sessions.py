from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from urllib.parse import quote

import pytest
from aiohttp.test_utils import TestClient
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from signing_wallet import FixedClock, SigningWallet

from zmartd.config import Auth, Secret
from zmartd.http.auth.errors import BadToken
from zmartd.http.auth.sessions import Sessions
from zmartd.http.auth.tokens import Tokens

ALICE = SigningWallet(1)


async def sign_in(client: TestClient) -> dict[str, str]:
    """The headers of a new session."""
    given = await (await client.get("/api/auth/nonce", params={"wallet": ALICE.address})).json()
    body = {"message": given["message"], "signature": ALICE.sign_base58(given["message"])}
    session = await (await client.post("/api/auth/login", json=body)).json()
    return bearer(session["token"])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def legacy_header(clock: FixedClock) -> dict[str, str]:
    message = f"Sign in to ZMART\nTimestamp: {int(clock.time() * 1000)}"
    signature = ALICE.sign_base58(message)
    fields = f"message={quote(message)}&signature={signature}&wallet={ALICE.address}"
    return {"Authorization": f"Signature {fields}"}


async def code(client: TestClient, headers: dict[str, str], path: str = "/mine") -> str | None:
    """Why a route refuses; None when it does not."""
    send = client.post if path == "/money" else client.get
    response = await send(path, headers=headers)
    assert response.status in {200, 401, 503}
    return None if response.status == 200 else (await response.json())["code"]


async def test_a_session_ends_after_its_hour(client: TestClient, clock: FixedClock) -> None:
    headers = await sign_in(client)
    clock.now += 3_599
    assert await code(client, headers) is None
    clock.now += 10
    assert await code(client, headers) == "auth_expired"


async def test_a_logout_ends_the_session_on_every_daemon(
    client: TestClient, application: Callable, redis: Redis, aiohttp_client: Callable
) -> None:
    other = await aiohttp_client(application(redis))
    headers, kept = await sign_in(client), await sign_in(client)
    response = await client.post("/api/auth/logout", headers=headers)
    assert (response.status, (await response.json())["success"]) == (200, True)
    assert await code(client, headers) == "auth_bad_token"
    assert await code(other, headers) == "auth_bad_token"
    assert await code(other, kept) is None


async def test_an_ended_session_is_remembered_for_as_long_as_its_token_would_be_valid(
    client: TestClient, redis: Redis, clock: FixedClock
) -> None:
    headers = await sign_in(client)
    clock.now += 3_000
    await client.post("/api/auth/logout", headers=headers)
    (key,) = await redis.keys("auth:revoked:*")
    assert 600 <= await redis.ttl(key) <= 615


async def test_requests_at_once_share_a_question_and_only_the_ended_session_is_refused(
    redis: Redis, clock: FixedClock
) -> None:
    numbers = count()
    sessions = Sessions(
        Tokens(Auth(jwt_secret=Secret("s" * 32)), clock, lambda: f"token-{next(numbers)}"), redis, clock
    )
    opened = [sessions.open(SigningWallet(number).address) for number in range(1, 21)]
    await sessions.end(opened[7][1])
    before = (await redis.info("commandstats")).get("cmdstat_mget", {"calls": 0})["calls"]
    recognised = await asyncio.gather(
        *(sessions.recognise(token) for token, _ in opened), return_exceptions=True
    )
    after = (await redis.info("commandstats"))["cmdstat_mget"]["calls"]
    assert after - before == 1
    assert isinstance(recognised.pop(7), BadToken)
    opened.pop(7)
    assert recognised == [session for _, session in opened]


async def test_a_refresh_gives_a_new_token_for_the_old_one(client: TestClient, clock: FixedClock) -> None:
    headers = await sign_in(client)
    clock.now += 3_000
    response = await client.post("/api/auth/refresh", headers=headers)
    session = await response.json()
    assert (response.status, session["wallet"]) == (200, ALICE.address)
    assert await code(client, headers) == "auth_bad_token"
    clock.now += 3_000
    assert await code(client, bearer(session["token"])) is None


async def test_of_two_refreshes_with_one_token_one_succeeds(client: TestClient) -> None:
    headers = await sign_in(client)
    responses = await asyncio.gather(*(client.post("/api/auth/refresh", headers=headers) for _ in range(4)))
    assert sorted(response.status for response in responses) == [200, 401, 401, 401]


@pytest.mark.parametrize("path", ["/api/auth/refresh", "/api/auth/logout"])
async def test_without_a_session_there_is_nothing_to_renew_or_end(client: TestClient, path: str) -> None:
    response = await client.post(path)
    assert (response.status, (await response.json())["code"]) == (401, "auth_missing")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "auth_missing"),
        ("Bearer", "auth_bad_token"),
        ("Bearer x.y.z", "auth_bad_token"),
        ("Basic YTpi", "auth_bad_message"),
        ("Signature message=a&signature=b&wallet=c", "auth_bad_message"),
    ],
)
async def test_a_bad_credential_stops_only_those_who_need_a_good_one(
    client: TestClient, header: str, expected: str
) -> None:
    headers = {"Authorization": header}
    response = await client.get("/public", headers=headers)
    assert (response.status, await response.json()) == (200, {"wallet": None})
    assert await code(client, headers) == expected
    assert await code(client, headers, "/money") == expected


async def test_the_scheme_may_be_written_in_any_case(client: TestClient) -> None:
    token = (await sign_in(client))["Authorization"].removeprefix("Bearer ")
    assert await code(client, {"Authorization": f"bearer {token}"}) is None


async def test_the_earlier_frontends_header_identifies_but_moves_no_money(
    application: Callable, redis: Redis, aiohttp_client: Callable, clock: FixedClock
) -> None:
    client = await aiohttp_client(application(redis, legacy=True))
    headers = legacy_header(clock)
    assert await code(client, headers) is None
    assert await code(client, headers, "/money") == "auth_session_required"
    clock.now += 3_601
    assert await code(client, headers) == "auth_expired"
    assert (await client.get("/public", headers=headers)).status == 200


async def test_the_earlier_frontends_header_is_refused_unless_it_is_allowed(
    client: TestClient, clock: FixedClock
) -> None:
    assert await code(client, legacy_header(clock)) == "auth_bad_message"


async def test_without_redis_nobody_is_recognised_and_public_reads_go_on(
    client: TestClient, application: Callable, aiohttp_client: Callable
) -> None:
    headers = await sign_in(client)
    lost = Redis(unix_socket_path="/nonexistent/valkey.sock", retry=Retry(NoBackoff(), 0))
    stranded = await aiohttp_client(application(lost))
    assert (await stranded.get("/public", headers=headers)).status == 200
    assert await code(stranded, headers) == "auth_unavailable"
    response = await stranded.get("/api/auth/nonce")
    assert (response.status, response.headers["Retry-After"]) == (503, "2")

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from itertools import count
from pathlib import Path
from typing import cast
from urllib.parse import quote

import msgspec
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.integration.http.auth.conftest import SETTINGS
from tests.integration.http.rest.database_cable import Cable, laid_cable
from tests.integration.http.served import Client, Serve, Served
from tests.shared_secrets import shared_secret
from tests.signing_wallet import FixedClock, SigningWallet
from zmartd import config
from zmartd.config import AuthSettings
from zmartd.config_values import PostgresUrl, SharedSecret
from zmartd.embedded.valkey import EmbeddedValkey
from zmartd.http.auth.revocations import RETENTION_MARGIN_SECONDS, Revocations
from zmartd.http.auth.sessions import Sessions
from zmartd.http.auth.tokens import LEEWAY_SECONDS, Tokens
from zmartd.http.errors.auth import BadToken
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.reader import Reads

ALICE, BOB = SigningWallet(1), SigningWallet(2)


async def sign_in(client: Client, wallet: SigningWallet = ALICE) -> dict[str, str]:
    """The headers of a new session."""
    given = await (await client.get("/api/auth/nonce", params={"wallet": wallet.address})).json()
    body = {"message": given["message"], "signature": wallet.sign_base58(given["message"])}
    session = await (await client.post("/api/auth/login", json=body)).json()
    return bearer(session["token"])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def legacy_header(clock: FixedClock) -> dict[str, str]:
    message = f"Sign in to ZMART\nTimestamp: {int(clock.time() * 1000)}"
    signature = ALICE.sign_base58(message)
    fields = f"message={quote(message)}&signature={signature}&wallet={ALICE.address}"
    return {"Authorization": f"Signature {fields}"}


async def code(client: Client, headers: dict[str, str], path: str = "/mine") -> str | None:
    """Why a route refuses; None when it does not."""
    send = client.post if path == "/money" else client.get
    response = await send(path, headers=headers)
    assert response.status in {200, 401, 503}
    return None if response.status == 200 else (await response.json())["code"]


async def test_a_session_ends_after_its_hour(client: Client, clock: FixedClock) -> None:
    headers = await sign_in(client)
    clock.now += 3_599
    assert await code(client, headers) is None
    clock.now += 1 + LEEWAY_SECONDS
    assert await code(client, headers) == "auth_expired"


async def test_a_logout_ends_the_session_on_every_daemon(
    client: Client, application: Callable[..., Served], redis: Redis, aiohttp_client: Serve
) -> None:
    other = await aiohttp_client(application(redis))
    headers, kept = await sign_in(client), await sign_in(client)
    response = await client.post("/api/auth/logout", headers=headers)
    assert (response.status, (await response.json())["success"]) == (200, True)
    assert await code(client, headers) == "auth_bad_token"
    assert await code(other, headers) == "auth_bad_token"
    assert await code(other, kept) is None


async def revocations(database: Database) -> dict[str, float]:
    """Their names, and until when they are kept, in unix seconds."""
    async with database.service() as connection:
        rows = await connection.fetch("select name, expires_at from revocations order by name")
    return {row["name"]: row["expires_at"].timestamp() for row in rows}


async def test_what_was_revoked_is_kept_until_nothing_of_it_can_be_valid(
    client: Client, database: Database, clock: FixedClock
) -> None:
    headers = await sign_in(client)
    await client.post("/api/auth/logout", headers=headers)
    kept = {
        name.partition(":")[0]: until - clock.time() for name, until in (await revocations(database)).items()
    }
    valid = {"nonce": 300 + LEEWAY_SECONDS, "session": 3_600}
    assert kept == {name: seconds + RETENTION_MARGIN_SECONDS for name, seconds in valid.items()}
    assert RETENTION_MARGIN_SECONDS > 2 * LEEWAY_SECONDS


class CountingDatabase(Database):
    """Counts how often somebody reads."""

    reads = 0

    def service_reader(self) -> AbstractAsyncContextManager[Reads]:
        self.reads += 1
        return super().service_reader()


async def test_requests_at_once_share_a_question_and_only_the_ended_session_is_refused(
    database_url: str, clock: FixedClock
) -> None:
    numbers = count()
    database = await CountingDatabase.connect(
        config.DatabaseSettings(url=PostgresUrl(database_url), pool_size=3)
    )
    tokens = Tokens(
        AuthSettings(jwt_secret=SharedSecret(shared_secret("sessions"))),
        "zmartd:devnet:test",
        clock,
        lambda: f"{next(numbers)}",
    )
    sessions = Sessions(tokens, Revocations(database, clock), clock)
    opened = [sessions.open(SigningWallet(number).address) for number in range(1, 21)]
    await sessions.end(opened[7][1])
    recognised = await asyncio.gather(
        *(sessions.recognise(token) for token, _ in opened), return_exceptions=True
    )
    assert database.reads == 1
    assert isinstance(recognised.pop(7), BadToken)
    opened.pop(7)
    assert recognised == [session for _, session in opened]

    async with database.service() as connection:
        await connection.execute("lock table revocations in access exclusive mode")
        asked = [asyncio.create_task(sessions.recognise(opened[0][0]))]
        while database.reads == 1:  # noqa: ASYNC110 - it is a few turns of the loop away
            await asyncio.sleep(0)
        for token, _ in opened:  # while a question is under way there is no other
            asked.append(asyncio.create_task(sessions.recognise(token)))
            await asyncio.sleep(0)
        assert database.reads == 2
    await asyncio.gather(*asked)
    assert database.reads == 3
    await database.close()


async def test_no_number_of_nonces_brings_an_ended_session_back(
    application: Callable[..., Served], aiohttp_client: Serve, tmp_path: Path
) -> None:
    async with EmbeddedValkey(tmp_path) as valkey, Redis.from_url(valkey.url) as redis:
        client = await aiohttp_client(application(redis))
        headers = await sign_in(client)
        await client.post("/api/auth/logout", headers=headers)
        # Little more room than what is there, as where 30,000 nonces fill the rest.
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        await redis.config_set("maxmemory", used + 100_000)
        for _ in range(20):
            await asyncio.gather(*(client.get("/api/auth/nonce") for _ in range(100)))
        assert await code(client, headers) == "auth_bad_token"
        assert {key.split(b":")[1] for key in cast(list[bytes], await redis.keys())} <= {b"attempts"}


async def test_nothing_that_was_used_up_comes_back_when_redis_loses_everything(
    client: Client, redis: Redis
) -> None:
    given = await (await client.get("/api/auth/nonce", params={"wallet": ALICE.address})).json()
    login = {"message": given["message"], "signature": ALICE.sign_base58(given["message"])}
    assert (await client.post("/api/auth/login", json=login)).status == 200
    ended, renewed = await sign_in(client), await sign_in(client)
    await client.post("/api/auth/logout", headers=ended)
    await client.post("/api/auth/refresh", headers=renewed)
    await redis.flushall()
    assert await code(client, ended) == "auth_bad_token"
    assert await code(client, renewed) == "auth_bad_token"
    again = await client.post("/api/auth/login", json=login)
    assert (again.status, (await again.json())["code"]) == (401, "auth_expired")


async def test_a_wallet_signs_out_everywhere_at_once(
    client: Client,
    application: Callable[..., Served],
    redis: Redis,
    aiohttp_client: Serve,
    clock: FixedClock,
) -> None:
    ahead = FixedClock(clock.now + 4)
    other = await aiohttp_client(application(redis, ahead))
    sessions = [await sign_in(client), await sign_in(other), await sign_in(client)]
    refreshed = await client.post("/api/auth/refresh", headers=sessions[2])
    sessions[2] = bearer((await refreshed.json())["token"])
    bobs = await sign_in(client, BOB)
    response = await client.post("/api/auth/logout-everywhere", headers=sessions[0])
    assert (response.status, (await response.json())["success"]) == (200, True)
    for daemon in (client, other):
        assert [await code(daemon, headers) for headers in sessions] == ["auth_bad_token"] * 3
        assert await code(daemon, bobs) is None
    assert await code(client, sessions[2], "/money") == "auth_bad_token"


async def test_who_signed_out_everywhere_can_sign_in_and_do_so_again_within_the_second(
    client: Client, clock: FixedClock
) -> None:
    for _ in range(4):
        first, second = await sign_in(client), await sign_in(client)
        assert await code(client, first) is None
        await client.post("/api/auth/logout-everywhere", headers=first)
        assert [await code(client, headers) for headers in (first, second)] == ["auth_bad_token"] * 2
    headers = await sign_in(client)
    clock.now += 3_000
    refreshed = await (await client.post("/api/auth/refresh", headers=headers)).json()
    assert await code(client, bearer(refreshed["token"])) is None


async def test_signing_out_everywhere_holds_for_as_long_as_a_token_from_before(
    client: Client, database: Database, clock: FixedClock
) -> None:
    kept, ended = await sign_in(client, BOB), await sign_in(client)
    await client.post("/api/auth/logout-everywhere", headers=ended)
    clock.now += 3_599
    assert await code(client, ended) == "auth_bad_token"
    assert await code(client, kept) is None
    assert (await revocations(database))[f"wallet:{ALICE.address}"] > clock.time()


async def test_a_session_is_renewed_until_its_greatest_age(
    application: Callable[..., Served], redis: Redis, aiohttp_client: Serve, clock: FixedClock
) -> None:
    settings = msgspec.structs.replace(SETTINGS, session_seconds=7_000)
    client = await aiohttp_client(application(redis, settings=settings))
    headers = await sign_in(client)
    for lives_for in (3_600, 1_000):
        clock.now += 3_000
        renewed = await (await client.post("/api/auth/refresh", headers=headers)).json()
        assert renewed["expires_in_seconds"] == lives_for
        headers = bearer(renewed["token"])
    clock.now += 1_000
    refused = await client.post("/api/auth/refresh", headers=headers)
    assert (refused.status, (await refused.json())["code"]) == (401, "auth_session_over")
    clock.now += LEEWAY_SECONDS
    assert await code(client, headers) == "auth_session_over"
    assert await code(client, await sign_in(client)) is None


async def test_a_refresh_gives_a_new_token_for_the_old_one(client: Client, clock: FixedClock) -> None:
    headers = await sign_in(client)
    clock.now += 3_000
    response = await client.post("/api/auth/refresh", headers=headers)
    session = await response.json()
    assert (response.status, session["wallet"]) == (200, ALICE.address)
    assert await code(client, headers) == "auth_bad_token"
    clock.now += 3_000
    assert await code(client, bearer(session["token"])) is None


async def test_however_often_a_session_is_renewed_one_row_remembers_it(
    client: Client, database: Database
) -> None:
    headers = await sign_in(client)
    for _ in range(3):
        renewed = await (await client.post("/api/auth/refresh", headers=headers)).json()
        assert await code(client, headers) == "auth_bad_token"
        headers = bearer(renewed["token"])
    await client.post("/api/auth/logout", headers=headers)
    assert [name.partition(":")[0] for name in await revocations(database)] == ["nonce", "session"]


async def test_of_two_refreshes_with_one_token_one_succeeds(client: Client) -> None:
    headers = await sign_in(client)
    responses = await asyncio.gather(*(client.post("/api/auth/refresh", headers=headers) for _ in range(4)))
    assert sorted(response.status for response in responses) == [200, 401, 401, 401]


async def test_a_renewal_of_an_ended_session_fails_even_with_its_newest_token(client: Client) -> None:
    headers = await sign_in(client)
    renewed = bearer((await (await client.post("/api/auth/refresh", headers=headers)).json())["token"])
    answers = await asyncio.gather(
        client.post("/api/auth/logout", headers=renewed),
        *(client.post("/api/auth/refresh", headers=renewed) for _ in range(3)),
    )
    tokens = [(await answer.json()).get("token") for answer in answers]
    for headers in [renewed, *(bearer(token) for token in tokens if token)]:
        assert await code(client, headers) == "auth_bad_token"


@pytest.mark.parametrize("path", ["/api/auth/refresh", "/api/auth/logout", "/api/auth/logout-everywhere"])
async def test_without_a_session_there_is_nothing_to_renew_or_end(client: Client, path: str) -> None:
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
    client: Client, header: str, expected: str
) -> None:
    headers = {"Authorization": header}
    response = await client.get("/public", headers=headers)
    assert (response.status, await response.json()) == (200, {"wallet": None})
    assert await code(client, headers) == expected
    assert await code(client, headers, "/money") == expected


async def test_the_scheme_may_be_written_in_any_case(client: Client) -> None:
    token = (await sign_in(client))["Authorization"].removeprefix("Bearer ")
    assert await code(client, {"Authorization": f"bearer {token}"}) is None


async def test_the_earlier_frontends_header_identifies_but_moves_no_money(
    application: Callable[..., Served], redis: Redis, aiohttp_client: Serve, clock: FixedClock
) -> None:
    client = await aiohttp_client(application(redis, legacy=True))
    headers = legacy_header(clock)
    assert await code(client, headers) is None
    refused = await (await client.post("/money", headers=headers)).json()
    assert (refused["code"], refused["details"]) == ("auth_session_required", {"field": "Authorization"})
    assert "sign in with POST /api/auth/login" in refused["message"]
    clock.now += 3_601
    assert await code(client, headers) == "auth_expired"
    assert (await client.get("/public", headers=headers)).status == 200


async def test_the_earlier_frontends_header_is_refused_unless_it_is_allowed(
    client: Client, clock: FixedClock
) -> None:
    assert await code(client, legacy_header(clock)) == "auth_bad_message"


async def test_a_sign_out_everywhere_ends_the_earlier_frontends_headers(
    application: Callable[..., Served], redis: Redis, aiohttp_client: Serve, clock: FixedClock
) -> None:
    client = await aiohttp_client(application(redis, legacy=True))
    before = legacy_header(clock)
    assert await code(client, before) is None
    await client.post("/api/auth/logout-everywhere", headers=await sign_in(client))
    assert await code(client, before) == "auth_bad_token"
    clock.now += 299  # by how much the wallet's clock may have been ahead
    assert await code(client, legacy_header(clock)) == "auth_bad_token"
    clock.now += LEEWAY_SECONDS + 2
    assert await code(client, legacy_header(clock)) is None


async def test_without_redis_people_are_recognised_and_sign_in_and_out(
    client: Client, application: Callable[..., Served], aiohttp_client: Serve
) -> None:
    headers = await sign_in(client)
    lost = Redis(unix_socket_path="/nonexistent/valkey.sock", retry=Retry(NoBackoff(), 0))
    stranded = await aiohttp_client(application(lost))
    assert await code(stranded, headers) is None
    await stranded.post("/api/auth/logout", headers=headers)
    assert await code(client, headers) == "auth_bad_token"
    assert await code(stranded, await sign_in(stranded), "/money") is None


async def test_without_postgres_nobody_is_recognised_and_public_reads_go_on(
    client: Client, stranded: Client, cable: Cable
) -> None:
    headers = await sign_in(client)
    await cable.cut()
    await assert_nobody_is_recognised(stranded, headers)
    assert await code(client, headers) is None


async def test_while_postgres_says_nothing_nobody_waits_long_and_nobody_is_recognised(
    client: Client, stranded: Client, database: Database
) -> None:
    headers = await sign_in(client)
    async with database.service() as connection:
        await connection.execute("lock table revocations in access exclusive mode")
        async with asyncio.timeout(120):  # statements themselves may take 600 seconds here
            await assert_nobody_is_recognised(stranded, headers)
    assert await code(stranded, headers) is None


async def assert_nobody_is_recognised(client: Client, headers: dict[str, str]) -> None:
    response = await client.get("/public", headers=headers)
    assert (response.status, await response.json()) == (200, {"wallet": None})
    assert await code(client, headers) == "auth_unavailable"
    assert await code(client, headers, "/money") == "auth_unavailable"
    refused = await client.post("/api/auth/logout", headers=headers)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "2")
    assert (await client.get("/api/auth/nonce")).status == 200


@pytest.fixture
async def cable(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cable]:
    """A way to the test's database that can be cut."""
    async with laid_cable(database_url, tmp_path_factory.mktemp("cable")) as cable:
        yield cable


@pytest.fixture
async def stranded(
    cable: Cable, application: Callable[..., Served], redis: Redis, aiohttp_client: Serve
) -> AsyncIterator[Client]:
    """A daemon at the other end of `cable`, which waits long for a statement."""
    settings = config.DatabaseSettings(url=PostgresUrl(cable.url), pool_size=3, statement_timeout_seconds=600)
    database = await Database.connect(settings)
    yield await aiohttp_client(application(redis, database=database))
    await database.close()

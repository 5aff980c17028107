from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse
from redis.asyncio import Redis

from tests.integration.http.served import Client, Serve, Served
from tests.shared_secrets import shared_secret
from tests.signing_wallet import FixedClock, SigningWallet
from zmartd.config import AuthSettings
from zmartd.config_values import SharedSecret
from zmartd.http.auth.nonces import Nonces
from zmartd.http.auth.revocations import Revocations
from zmartd.http.auth.siws import SignInMessage, parse
from zmartd.http.auth.tokens import LEEWAY_SECONDS
from zmartd.store import users
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import Caller
from zmartd.store.users import User

ALICE, BOB = SigningWallet(1), SigningWallet(2)


async def challenge(client: Client, wallet: SigningWallet | None = ALICE, **query: str) -> dict[str, Any]:
    if wallet is not None:
        query["wallet"] = wallet.address
    response = await client.get("/api/auth/nonce", params=query)
    assert response.status == 200
    return dict(await response.json())


async def login(client: Client, message: str, signer: SigningWallet = ALICE, **fields: str) -> ClientResponse:
    body = {"message": message, "signature": signer.sign_base58(message), **fields}
    return await client.post("/api/auth/login", json=body)


async def refusal(response: ClientResponse) -> tuple[int, str]:
    return response.status, (await response.json())["code"]


async def test_a_wallet_signs_what_it_is_given_and_is_signed_in(client: Client, clock: FixedClock) -> None:
    given = await challenge(client)
    response = await login(client, given["message"])
    assert response.status == 200
    session = await response.json()
    until = datetime.fromtimestamp(clock.time() + 3_600, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    assert {name: session[name] for name in session if name != "token"} == {
        "success": True,
        "wallet": ALICE.address,
        "expires_in_seconds": 3_600,
        "expires_at": until,
        "walletAddress": ALICE.address,
        "expiresIn": 3_600,
        "expiresAt": until,
        "message": "Signed in.",
    }
    headers = {"Authorization": f"Bearer {session['token']}"}
    for send, path in ((client.get, "/public"), (client.get, "/mine"), (client.post, "/money")):
        assert await (await send(path, headers=headers)).json() == {"wallet": ALICE.address}


async def test_the_message_to_sign_says_what_is_signed_and_for_how_long(
    client: Client, clock: FixedClock
) -> None:
    given = await challenge(client)
    now = datetime.fromtimestamp(clock.time(), UTC)
    assert given["expires_at"] == "2026-03-01T12:05:00.000Z"
    assert given["domains"] == ["zmart.example", "localhost:3000"]
    assert (given["domain"], given["chain_id"]) == ("zmart.example", "devnet")
    assert parse(given["message"]) == SignInMessage(
        domain="zmart.example",
        address=ALICE.address,
        statement="Sign in to ZMART. This costs nothing and sends no transaction.",
        uri="https://zmart.example",
        version="1",
        chain_id="devnet",
        nonce=given["nonce"],
        issued_at=now,
        expiration_time=now + timedelta(minutes=5),
    )


async def test_the_message_is_for_the_domain_that_was_asked_for_if_it_is_ours(client: Client) -> None:
    assert (await challenge(client, domain="localhost:3000"))["domain"] == "localhost:3000"
    assert (await challenge(client, domain="ZMART.example"))["domain"] == "zmart.example"


async def test_a_nonce_for_a_domain_that_is_not_ours_is_refused(client: Client) -> None:
    response = await client.get("/api/auth/nonce", params={"domain": "evil.example"})
    body = await response.json()
    assert (response.status, body["code"]) == (400, "invalid_request")
    assert body["details"] == [
        {"field": "domain", "message": 'must be one of zmart.example, localhost:3000, not "evil.example"'}
    ]


@pytest.mark.parametrize(
    ("domains", "domain", "says"),
    [
        (("zmart.example", "localhost:3000"), "x.example", 'zmart.example, localhost:3000, not "x.example"'),
        (("localhost:3000",), "zmart.example", 'not "zmart.example"; the setting auth.domains adds others'),
    ],
)
async def test_another_domain_is_told_the_right_ones_and_where_nobody_else_comes_their_setting(
    application: Callable[..., Served],
    redis: Redis,
    aiohttp_client: Serve,
    domains: tuple[str, ...],
    domain: str,
    says: str,
) -> None:
    settings = AuthSettings(jwt_secret=SharedSecret(shared_secret("sessions")), domains=domains)
    client = await aiohttp_client(application(redis, settings=settings))
    asked = await client.get("/api/auth/nonce", params={"domain": domain})
    assert says in (await asked.json())["message"]
    given = await challenge(client)
    wrong = msgspec.structs.replace(parse(given["message"]), domain=domain)
    refused = await login(client, wrong.text())
    body = await refused.json()
    assert (refused.status, body["code"]) == (401, "auth_bad_message")
    assert says in body["message"]


async def test_a_client_may_write_its_own_message_around_a_nonce(client: Client, clock: FixedClock) -> None:
    given = await challenge(client, wallet=None)
    assert "message" not in given
    message = own_message(given["nonce"], clock)
    assert (await login(client, message, wallet=ALICE.address)).status == 200


@pytest.mark.parametrize("name", ["wallet", "publicKey", "walletAddress"])
async def test_the_wallet_may_be_named_as_clients_are_used_to(client: Client, name: str) -> None:
    alice: dict[str, Any] = {name: ALICE.address}
    bob: dict[str, Any] = {name: BOB.address}
    given = await challenge(client)
    assert (await login(client, given["message"], **alice)).status == 200
    given = await challenge(client)
    assert await refusal(await login(client, given["message"], **bob)) == (
        401,
        "auth_bad_signature",
    )


async def test_the_signature_may_be_in_base64(client: Client) -> None:
    message = (await challenge(client))["message"]
    body = {"message": message, "signature": base64.b64encode(ALICE.sign(message)).decode()}
    assert (await client.post("/api/auth/login", json=body)).status == 200


async def test_a_signed_message_works_once(client: Client) -> None:
    message = (await challenge(client))["message"]
    statuses = sorted(r.status for r in await asyncio.gather(*(login(client, message) for _ in range(5))))
    assert statuses == [200, 401, 401, 401, 401]
    assert await refusal(await login(client, message)) == (401, "auth_expired")


async def test_a_nonce_that_nobody_issued_is_refused(client: Client, clock: FixedClock) -> None:
    assert await refusal(await login(client, own_message("0123456789abcdef", clock))) == (401, "auth_expired")


async def test_a_nonce_is_for_the_wallet_that_asked_for_it(client: Client, clock: FixedClock) -> None:
    given = await challenge(client, wallet=BOB)
    response = await login(client, own_message(given["nonce"], clock))
    assert await refusal(response) == (401, "auth_expired")


async def test_a_nonce_is_good_for_five_minutes_and_what_clocks_may_differ(
    client: Client, clock: FixedClock
) -> None:
    first, second = await challenge(client), await challenge(client)
    clock.now += 299 + LEEWAY_SECONDS
    assert (await login(client, own_message(first["nonce"], clock))).status == 200
    clock.now += 1
    response = await login(client, own_message(second["nonce"], clock))
    assert await refusal(response) == (401, "auth_expired")


async def test_a_nonce_cannot_be_made_younger_or_another_ones(client: Client, clock: FixedClock) -> None:
    nonce = (await challenge(client, wallet=BOB))["nonce"]
    random, issued_at, code = nonce[:-40], nonce[-40:-32], nonce[-32:]
    for forged in (
        random + f"{int(issued_at, 16) + 600:08x}" + code,
        "0" + nonce[1:] if nonce[0] != "0" else "1" + nonce[1:],
        nonce[:-1] + ("0" if nonce[-1] != "0" else "1"),
        nonce[:-32] + code.upper() + "0",
    ):
        response = await login(client, own_message(forged, clock, BOB), signer=BOB)
        assert await refusal(response) == (401, "auth_expired")
    assert (await login(client, own_message(nonce, clock, BOB), signer=BOB)).status == 200


async def test_a_nonce_is_nothing_to_another_cluster_or_after_its_secret_is_gone(
    database: Database, clock: FixedClock
) -> None:
    def nonces(secret: str, previous: str = "", audience: str = "zmartd:devnet:program") -> Nonces:
        settings = AuthSettings(
            jwt_secret=SharedSecret(shared_secret(secret)),
            jwt_secret_previous=SharedSecret(previous and shared_secret(previous)),
        )
        return Nonces(settings, audience, Revocations(database, clock), clock, lambda: "random")

    nonce = nonces("a").issue(ALICE.address)
    assert not await nonces("a", audience="zmartd:mainnet:program").consume(nonce, ALICE.address)
    assert not await nonces("b").consume(nonce, ALICE.address)
    assert await nonces("b", previous="a").consume(nonce, ALICE.address)
    assert not await nonces("a").consume(nonce, ALICE.address)


async def test_only_a_sign_in_leaves_something_behind(
    client: Client, database: Database, redis: Redis, clock: FixedClock
) -> None:
    for _ in range(50):
        message = (await challenge(client))["message"]
    assert await redis.dbsize() == 0
    assert (await login(client, message, signer=BOB)).status == 401
    assert (await login(client, own_message("0123456789abcdef", clock))).status == 401
    async with database.service() as connection:
        assert await connection.fetchval("select count(*) from revocations") == 0
        assert (await login(client, message)).status == 200
        assert await connection.fetchval("select count(*) from revocations") == 1


async def test_the_signature_of_another_wallet_is_refused_and_costs_no_nonce(client: Client) -> None:
    message = (await challenge(client))["message"]
    assert await refusal(await login(client, message, signer=BOB)) == (401, "auth_bad_signature")
    assert (await login(client, message)).status == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"domain": "evil.example"}, "auth_bad_message"),
        ({"uri": "https://evil.example"}, "auth_bad_message"),
        ({"uri": "https://evil/https://zmart.example"}, "auth_bad_message"),
        ({"uri": "https://zmart.example@evil.example/"}, "auth_bad_message"),
        ({"uri": "https://zmart.example:8443"}, "auth_bad_message"),
        ({"uri": "https:zmart.example"}, "auth_bad_message"),
        ({"uri": "https://[zmart.example"}, "auth_bad_message"),
        ({"chain_id": "mainnet"}, "auth_bad_message"),
        ({"nonce": None}, "auth_bad_message"),
        ({"issued_at": None}, "auth_bad_message"),
        ({"issued_at": timedelta(seconds=61)}, "auth_expired"),
        ({"issued_at": timedelta(seconds=-361)}, "auth_expired"),
        ({"expiration_time": timedelta(0)}, "auth_expired"),
        ({"not_before": timedelta(seconds=1)}, "auth_expired"),
    ],
)
async def test_a_message_for_somewhere_or_sometime_else_is_refused(
    client: Client, clock: FixedClock, changes: dict[str, Any], code: str
) -> None:
    given = await challenge(client)
    now = datetime.fromtimestamp(clock.time(), UTC)
    changes = {
        name: now + value if isinstance(value, timedelta) else value for name, value in changes.items()
    }
    wrong = msgspec.structs.replace(parse(given["message"]), **changes)
    assert await refusal(await login(client, wrong.text())) == (401, code)


@pytest.mark.parametrize(
    "changes",
    [
        {"chain_id": "solana:devnet"},
        {"chain_id": None},
        {"domain": "ZMART.example"},
        {"uri": "https://ZMART.example/login?then=/markets#top"},
        {"issued_at": timedelta(seconds=60)},
        {"expiration_time": timedelta(milliseconds=1)},
        {"not_before": timedelta(0)},
        {"statement": None, "uri": None, "version": None, "expiration_time": None},
    ],
)
async def test_what_a_message_may_leave_open_or_say_otherwise_is_accepted(
    client: Client, clock: FixedClock, changes: dict[str, Any]
) -> None:
    given = await challenge(client)
    now = datetime.fromtimestamp(clock.time(), UTC)
    changes = {
        name: now + value if isinstance(value, timedelta) else value for name, value in changes.items()
    }
    message = msgspec.structs.replace(parse(given["message"]), **changes)
    assert (await login(client, message.text())).status == 200


async def test_a_text_that_says_no_wallet_needs_the_wallet_beside_it(client: Client) -> None:
    assert await refusal(await login(client, "let me in")) == (400, "invalid_request")
    response = await login(client, "let me in", wallet=ALICE.address)
    assert await refusal(response) == (401, "auth_bad_message")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"message": 5, "signature": "x"}',
        b'{"message": "x"}',
        b'{"message":"\\ud800"',
        b"[" * 9_000,
    ],
)
async def test_a_malformed_request_is_told_so(client: Client, body: bytes) -> None:
    response = await client.post("/api/auth/login", data=body, headers={"Content-Type": "application/json"})
    assert response.status == 400


async def test_an_address_may_try_so_often_a_minute(client: Client, redis: Redis) -> None:
    async def attempt(address: str) -> ClientResponse:
        body = {"message": "x", "signature": "x", "wallet": ALICE.address}
        return await client.post("/api/auth/login", json=body, headers={"X-Forwarded-For": address})

    for _ in range(100):
        assert (await attempt("198.51.100.1")).status == 401
    refused = await attempt("198.51.100.1")
    assert await refusal(refused) == (429, "auth_too_many_attempts")
    assert 1 <= (await refused.json())["details"]["retry_after_seconds"] <= 60
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert (await attempt("198.51.100.2")).status == 401
    await redis.delete("auth:attempts:address:198.51.100.1")
    assert (await attempt("198.51.100.1")).status == 401


async def test_nobody_but_its_owner_can_use_up_a_wallets_attempts(client: Client) -> None:
    message = (await challenge(client))["message"]
    for _ in range(15):
        assert (await login(client, message, signer=BOB)).status == 401
    assert (await login(client, message)).status == 200
    for _ in range(15):  # what somebody overheard
        assert (await login(client, message)).status == 401
    for _ in range(9):
        assert (await login(client, (await challenge(client))["message"])).status == 200
    response = await login(client, (await challenge(client))["message"])
    assert await refusal(response) == (429, "auth_too_many_attempts")


async def test_two_daemons_share_nonces_and_sessions(
    client: Client, application: Callable[..., Served], redis: Redis, aiohttp_client: Serve
) -> None:
    other = await aiohttp_client(application(redis))
    message = (await challenge(client))["message"]
    token = (await (await login(other, message)).json())["token"]
    response = await client.get("/mine", headers={"Authorization": f"Bearer {token}"})
    assert await response.json() == {"wallet": ALICE.address}


def own_message(nonce: str, clock: FixedClock, wallet: SigningWallet = ALICE) -> str:
    return SignInMessage(
        domain="localhost:3000",
        address=wallet.address,
        nonce=nonce,
        issued_at=datetime.fromtimestamp(clock.time(), UTC),
    ).text()


async def profile(database: Database) -> User | None:
    async with database.caller(Caller(ALICE.address)) as connection:
        return await users.find(connection, ALICE.address)


async def backdate(database: Database) -> None:
    async with database.service() as connection:
        await connection.execute("update users set last_seen_at = now() - interval '1 day', bio = 'Hello.'")


async def test_whoever_signs_in_has_a_profile_that_says_when(client: Client, database: Database) -> None:
    assert await profile(database) is None
    await login(client, (await challenge(client))["message"])
    first = await profile(database)
    await backdate(database)
    session = await (await login(client, (await challenge(client))["message"])).json()
    second = await profile(database)
    assert first is not None
    assert second is not None
    assert (second.bio, second.created_at) == ("Hello.", first.created_at)
    assert second.last_seen_at > first.last_seen_at

    await backdate(database)
    headers = {"Authorization": f"Bearer {session['token']}"}
    assert (await client.post("/api/auth/refresh", headers=headers)).status == 200
    renewed = await profile(database)
    assert renewed is not None
    assert renewed.last_seen_at > second.last_seen_at


async def test_who_is_not_signed_in_gets_no_profile(client: Client, database: Database) -> None:
    message = (await challenge(client))["message"]
    body = {"message": message, "signature": BOB.sign_base58(message)}
    assert (await client.post("/api/auth/login", json=body)).status == 401
    assert await profile(database) is None


async def test_a_profile_that_somebody_else_is_changing_keeps_nobody_from_signing_in(
    client: Client, database: Database
) -> None:
    await login(client, (await challenge(client))["message"])
    message = (await challenge(client))["message"]
    async with database.service() as connection:
        await connection.execute("select from users for update")
        assert (await login(client, message)).status == 200

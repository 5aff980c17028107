from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import AUTHORIZATION, Api, Caller, running_api
from tests.integration.store.rows import insert_market
from zmartd.config import RateLimitSettings
from zmartd.http.auth import routes as auth
from zmartd.http.discussions import comments
from zmartd.http.kit.client_address import SITE_CLIENTS
from zmartd.http.kit.operation import Access, Quota
from zmartd.http.routes import OPERATIONS
from zmartd.store.postgres.database import Database

PER_MINUTE = 5
PER_MINUTE_SIGNED_IN = 12
FEW = RateLimitSettings(
    ip_reads_per_minute=PER_MINUTE,
    ip_reads_per_hour=100,
    ip_writes_per_minute=PER_MINUTE,
    ip_writes_per_hour=100,
    wallet_reads_per_minute=8,
    wallet_reads_per_hour=100,
    wallet_writes_per_minute=7,
    wallet_writes_per_hour=100,
    signed_in_ip_reads_per_minute=PER_MINUTE_SIGNED_IN,
    signed_in_ip_reads_per_hour=200,
    comments_per_hour=3,
    kept_answers_per_hour=4,
)

READ = "/api/trades"
"""Answered from the database each time."""
HOT = "/api/markets"
"""Answered from memory when it was asked for a moment ago."""
VOTE = {"market_id": "ab" * 32, "vote": True}


@pytest.fixture
async def limited(database: Database, redis_url: str) -> AsyncIterator[Api]:
    async with running_api(database, redis_url, rate_limits=FEW) as api:
        yield api


def wallets(api: Api, count: int) -> list[Caller]:
    return [api.as_wallet(Keypair.from_seed(bytes([seed] * 32))) for seed in range(1, count + 1)]


async def status_from(api: Api, address: str, caller: Caller | None = None) -> int:
    headers = {"X-Forwarded-For": address}
    if caller is not None:
        headers["Authorization"] = f"Bearer {caller.token}"
    response = await api.client.get(READ, headers=headers)
    return response.status


async def test_each_answer_says_where_the_caller_stands(limited: Api) -> None:
    for path, status in ((READ, 200), ("/api/markets/nothing", 404), ("/nowhere", 404)):
        answer = await limited.anybody.get(path)
        assert answer.status == status
        assert answer.headers["RateLimit-Limit"] == str(PER_MINUTE)
        assert answer.headers["RateLimit-Policy"] == (
            f'{PER_MINUTE};w=60;comment="anonymous reads of the address", '
            '100;w=3600;comment="anonymous reads of the address"'
        )
        assert 0 < int(answer.headers["RateLimit-Reset"]) <= 60
    assert answer.headers["RateLimit-Remaining"] == answer.headers["X-RateLimit-Remaining"] == "2"


async def test_clients_behind_a_proxy_that_adds_their_ports_are_told_apart(limited: Api) -> None:
    for port in range(PER_MINUTE):
        assert await status_from(limited, f"203.0.113.7:{50_000 + port}") == 200
    assert await status_from(limited, "203.0.113.7:51234") == 429
    assert await status_from(limited, "203.0.113.8:51234") == 200
    assert await status_from(limited, "[2001:db8::1]:443") == 200


async def test_the_clients_of_an_ipv6_site_have_limits_together(limited: Api) -> None:
    addresses = [f"2001:db8:1:{number:x}::1" for number in range(SITE_CLIENTS)] * PER_MINUTE
    assert {await status_from(limited, address) for address in addresses} == {200}
    assert await status_from(limited, "2001:db8:1:ffff::1") == 429
    assert await status_from(limited, "203.0.113.7") == 200
    answer = await limited.client.get(READ, headers={"X-Forwarded-For": "2001:db8:2::1"})
    assert answer.status == 200
    policy = f'{SITE_CLIENTS * PER_MINUTE};w=60;comment="anonymous reads of the IPv6 /48"'
    assert policy in answer.headers["RateLimit-Policy"]


async def test_too_many_requests_are_refused_with_the_time_to_wait(limited: Api) -> None:
    for _ in range(PER_MINUTE):
        assert (await limited.anybody.get(READ)).status == 200
    refused = await limited.anybody.get(READ)
    assert (refused.status, refused.body["code"]) == (429, "rate_limited")
    assert refused.headers["Retry-After"] == refused.headers["RateLimit-Reset"]
    assert refused.headers["RateLimit-Remaining"] == "0"


async def test_answers_from_memory_count_a_tenth_and_only_those(limited: Api) -> None:
    async with limited.database.service() as connection:
        detail = f"/api/markets/{await insert_market(connection, 'm')}"
    [wallet] = wallets(limited, 1)
    for caller, limit in ((limited.anybody, PER_MINUTE), (wallet, 8)):
        # The first of them is from the database, and one more each time that 2 seconds are over.
        answers = [await caller.get(detail) for _ in range(11)]
        assert {answer.status for answer in answers} == {200}
        assert limit - 5 <= int(answers[-1].headers["RateLimit-Remaining"]) <= limit - 1
    refused = [await wallet.get(detail, x=1), await wallet.get(HOT, cursor="x")]
    assert [answer.status for answer in refused] == [400, 400]
    left = [int(answer.headers["RateLimit-Remaining"]) for answer in (answers[-1], *refused)]
    assert left == [left[0], left[0] - 1, left[0] - 2]


async def test_an_export_counts_as_five_requests(limited: Api) -> None:
    [wallet] = wallets(limited, 1)
    headers = {"Authorization": f"Bearer {wallet.token}", "Accept": "text/csv"}
    answers = [await limited.client.get(READ, headers=headers) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["3", "3"]
    assert 0 < int(answers[1].headers["Retry-After"]) <= 60
    assert (await wallet.get(READ)).headers["RateLimit-Remaining"] == "2"


async def test_what_is_refused_is_refused_from_memory_too(limited: Api) -> None:
    for _ in range(PER_MINUTE):
        assert (await limited.anybody.get(READ)).status == 200
    await wallets(limited, 1)[0].get(HOT)  # keeps it
    refused = await limited.anybody.get(HOT)
    assert (refused.status, refused.headers["Retry-After"]) == (429, refused.headers["RateLimit-Reset"])


async def test_the_documentation_is_from_memory(limited: Api) -> None:
    paths = ["/docs", "/docs/start.js", "/docs/swagger-ui.css", "/api/openapi.json", "/api/openapi.json"]
    answers = [await limited.anybody.get(path) for path in paths]
    assert [answer.status for answer in answers] == [200] * 5
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["4", "4", "4", "3", "3"]


async def test_reads_and_writes_are_counted_apart(limited: Api) -> None:
    for _ in range(PER_MINUTE + 1):
        last = await limited.anybody.get(READ)
    assert last.status == 429
    nonce = await limited.anybody.get("/api/auth/nonce")
    assert (nonce.status, nonce.headers["RateLimit-Remaining"]) == (200, str(PER_MINUTE - 1))
    assert 'comment="anonymous writes of the address"' in nonce.headers["RateLimit-Policy"]

    [wallet] = wallets(limited, 1)
    for _ in range(9):
        last = await wallet.get(READ)
    assert last.status == 429
    voted = await wallet.post("/api/votes/proposal", VOTE)
    assert (voted.status, voted.headers["RateLimit-Limit"]) == (404, "7")
    assert 'comment="writes of the wallet"' in voted.headers["RateLimit-Policy"]


async def test_what_is_for_machines_is_never_refused(limited: Api) -> None:
    for _ in range(PER_MINUTE + 1):
        assert (await limited.anybody.get(READ)).status in {200, 429}
        assert (await limited.client.get("/health")).status == 200
        delivered = await limited.client.post(
            "/helius/webhook", data=b"[]", headers={"Authorization": AUTHORIZATION}
        )
        assert delivered.status == 200
        assert "RateLimit-Limit" not in delivered.headers


async def test_a_wallet_that_signed_in_has_an_account_of_its_own(limited: Api) -> None:
    for _ in range(PER_MINUTE + 1):
        last = await limited.anybody.get(READ)
    assert last.status == 429
    [wallet] = wallets(limited, 1)
    signed_in = await wallet.get(READ)
    assert (signed_in.status, signed_in.headers["RateLimit-Limit"]) == (200, "8")
    assert signed_in.headers["RateLimit-Policy"] == (
        '8;w=60;comment="reads of the wallet", 100;w=3600;comment="reads of the wallet", '
        '12;w=60;comment="signed-in reads of the address", '
        '200;w=3600;comment="signed-in reads of the address"'
    )


async def test_as_many_wallets_as_one_likes_get_no_more_through_than_their_address_may_send(
    limited: Api,
) -> None:
    statuses = [(await wallet.get(READ)).status for wallet in wallets(limited, 8) for _ in range(4)]
    assert statuses == [200] * PER_MINUTE_SIGNED_IN + [429] * (8 * 4 - PER_MINUTE_SIGNED_IN)
    refused = await wallets(limited, 9)[-1].get(READ)
    assert (refused.status, refused.body["code"]) == (429, "rate_limited")
    assert refused.headers["RateLimit-Limit"] == str(PER_MINUTE_SIGNED_IN)
    assert (await limited.anybody.get(READ)).status == 200


async def test_wallets_in_one_ipv6_network_or_behind_forged_addresses_are_of_one_address(
    limited: Api,
) -> None:
    many = wallets(limited, 7)
    statuses = [
        await status_from(limited, f"2001:db8:1:1::{host}", many[host % 7])
        for host in range(PER_MINUTE_SIGNED_IN + 1)
    ]
    assert statuses == [200] * PER_MINUTE_SIGNED_IN + [429]
    assert await status_from(limited, "2001:db8:1:2::1", many[0]) == 200
    statuses = [
        await status_from(limited, f"198.51.100.{claim}, 192.0.2.7", wallet)
        for claim, wallet in enumerate(wallets(limited, 7 + PER_MINUTE_SIGNED_IN + 1)[7:])
    ]
    assert statuses == [200] * PER_MINUTE_SIGNED_IN + [429]


async def test_seven_keys_on_one_address_get_no_further_than_the_default_limit(
    database: Database, redis_url: str
) -> None:
    async with running_api(database, redis_url, rate_limits=RateLimitSettings()) as api:
        statuses = [(await wallet.get(READ)).status for wallet in wallets(api, 7) for _ in range(90)]
    assert statuses.count(200) == RateLimitSettings().signed_in_ip_reads_per_minute
    assert statuses.count(429) == 630 - RateLimitSettings().signed_in_ip_reads_per_minute


async def test_addresses_behind_our_proxy_are_told_apart_and_ipv6_is_counted_by_network(limited: Api) -> None:
    for _ in range(PER_MINUTE):
        assert await status_from(limited, "192.0.2.7") == 200
    assert await status_from(limited, "192.0.2.7") == 429
    assert await status_from(limited, "192.0.2.8") == 200
    statuses = [await status_from(limited, f"2001:db8:1:1::{host}") for host in range(PER_MINUTE + 1)]
    assert statuses == [200] * PER_MINUTE + [429]
    assert await status_from(limited, "2001:db8:1:2::1") == 200


async def test_a_refused_token_counts_for_the_address_it_comes_from(limited: Api) -> None:
    headers = {"Authorization": "Bearer forged"}
    statuses = [(await limited.client.get(READ, headers=headers)).status for _ in range(PER_MINUTE + 1)]
    assert statuses == [200] * PER_MINUTE + [429]


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/auth/nonce"), ("POST", "/api/auth/login")])
async def test_a_session_pays_for_no_sign_in(limited: Api, method: str, path: str) -> None:
    [wallet] = wallets(limited, 1)
    headers = {"Authorization": f"Bearer {wallet.token}"}
    statuses = [
        (await limited.client.request(method, path, headers=headers)).status for _ in range(PER_MINUTE + 1)
    ]
    assert [status == 429 for status in statuses] == [False] * PER_MINUTE + [True]


async def test_signing_in_counts_as_such() -> None:
    public = {one.path for one in auth.OPERATIONS if one.access is Access.PUBLIC}
    assert {one.path for one in OPERATIONS if one.quota is Quota.SIGN_INS} == public


async def test_comments_count_as_such() -> None:
    posting = {one.path for one in comments.OPERATIONS if one.method == "POST"}
    assert {one.path for one in OPERATIONS if one.quota is Quota.COMMENTS} == posting


async def test_a_page_can_read_that_it_is_limited_and_for_how_long(limited: Api) -> None:
    origin = {"Origin": "https://app.example"}
    for _ in range(PER_MINUTE):
        await limited.client.get(READ, headers=origin)
    refused = await limited.client.get(READ, headers=origin)
    assert refused.status == 429
    assert refused.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Retry-After" in refused.headers["Access-Control-Expose-Headers"].split(",")


async def test_a_preflight_costs_nothing(limited: Api) -> None:
    for _ in range(PER_MINUTE + 1):
        preflight = await limited.client.options(
            READ,
            headers={"Origin": "https://app.example", "Access-Control-Request-Method": "GET"},
        )
        assert preflight.status == 200
    assert (await limited.anybody.get(READ)).headers["RateLimit-Remaining"] == str(PER_MINUTE - 1)


@pytest.mark.parametrize("path", ["/api/discussions", "/api/markets/{market}/discussions"])
async def test_keys_without_number_write_no_more_comments_than_their_address_may(
    limited: Api, path: str
) -> None:
    """What is counted is the request: a market that is not there is refused after that."""
    market = "ab" * 32
    body = {"content": "word"} if "{market}" in path else {"market_id": market, "content": "word"}
    statuses = [
        (await wallet.post(path.format(market=market), body)).status for wallet in wallets(limited, 5)
    ]
    assert statuses == [404, 404, 404, 429, 429]
    assert (await wallets(limited, 6)[-1].get(path.format(market=market))).status in {200, 404, 405}


async def test_a_wallet_at_many_addresses_writes_no_more_comments(limited: Api) -> None:
    [wallet] = wallets(limited, 1)
    answers = []
    for host in range(5):
        headers = {"Authorization": f"Bearer {wallet.token}", "X-Forwarded-For": f"198.51.100.{host}"}
        answers.append(
            await limited.client.post(
                "/api/discussions", json={"market_id": "ab" * 32, "content": "word"}, headers=headers
            )
        )
    assert [answer.status for answer in answers] == [404, 404, 404, 429, 429]
    assert 3_500 < int(answers[-1].headers["Retry-After"]) <= 3_600


async def test_an_address_has_so_many_answers_kept(limited: Api) -> None:
    statuses = []
    for number, wallet in enumerate(wallets(limited, 6)):
        keyed = {"Authorization": f"Bearer {wallet.token}", "Idempotency-Key": f"key-{number}"}
        answer = await limited.client.post("/api/votes/proposal", json=VOTE, headers=keyed)
        statuses.append(answer.status)
    assert statuses == [404] * 4 + [429] * 2
    without = await wallets(limited, 7)[-1].post(
        "/api/votes/proposal", {"market_id": "ab" * 32, "vote": True}
    )
    assert without.status == 404


async def test_an_expectation_that_nobody_meets_is_counted_and_refused_like_any_request(limited: Api) -> None:
    for _ in range(PER_MINUTE):
        refused = await limited.client.get(READ, headers={"Expect": "a miracle"})
        assert (refused.status, (await refused.json())["code"]) == (400, "invalid_http")
    refused = await limited.client.get(READ, headers={"Expect": "a miracle"})
    assert refused.status == 429

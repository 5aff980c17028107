from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from solders.keypair import Keypair

from tests.integration.http.rest.rest_api import Api, running_api
from tests.integration.indexer.story import Story
from tests.integration.store.expiry import delete_expired
from zmartd.store import idempotency
from zmartd.store.idempotency import Claim, UsedKey
from zmartd.store.postgres.database import Database

SUBMITTED = {"signature": "5" * 88, "status": "submitted"}
WALLET, OTHER = Keypair.from_seed(bytes([9] * 32)), Keypair.from_seed(bytes([8] * 32))


@pytest.fixture
async def market_id(api: Api) -> str:
    story = Story(1)
    story.create()
    await api.indexer.apply(story.transactions)
    return story.market_id.hex()


async def say(
    api: Api, market_id: str, content: str, key: str, wallet: Keypair = WALLET
) -> tuple[int, Any, bool]:
    token, _ = api.sessions.open(str(wallet.pubkey()))
    response = await api.client.post(
        f"/api/discussions/{market_id}",
        json={"content": content},
        headers={"Authorization": f"Bearer {token}", "Idempotency-Key": key},
    )
    return response.status, await response.json(), response.headers.get("Idempotency-Replayed") == "true"


async def comments(api: Api) -> int:
    async with api.database.service() as connection:
        return int(await connection.fetchval("select count(*) from discussions"))


async def test_the_same_request_gets_the_same_answer_and_does_nothing(api: Api, market_id: str) -> None:
    first = await say(api, market_id, "good question", "a-key")
    again = await say(api, market_id, "good question", "a-key")
    assert first[0] == 201
    assert again == (201, first[1], True)
    assert not first[2]
    assert await comments(api) == 1


async def test_a_key_is_for_one_request_of_one_wallet(api: Api, market_id: str) -> None:
    await say(api, market_id, "good question", "a-key")
    status, body, _ = await say(api, market_id, "bad question", "a-key")
    assert (status, body["code"]) == (409, "idempotency_conflict")
    assert (await say(api, market_id, "bad question", "a-key", OTHER))[0] == 201
    assert await comments(api) == 2


async def test_of_requests_at_once_one_is_carried_out(api: Api, market_id: str) -> None:
    answers = await asyncio.gather(*(say(api, market_id, "good question", "a-key") for _ in range(6)))
    assert await comments(api) == 1
    assert {status for status, _, _ in answers} <= {201, 409}
    assert sum(status == 201 and not replayed for status, _, replayed in answers) == 1
    assert {body["code"] for status, body, _ in answers if status == 409} <= {"still_under_way"}


async def test_what_was_not_tried_can_be_sent_again(api: Api, market_id: str) -> None:
    assert (await say(api, market_id, "", "a-key"))[0] == 400
    assert (await say(api, market_id, "good question", "a-key"))[0] == 201


async def test_a_refusal_is_made_anew_and_the_key_stays_that_request_s(api: Api) -> None:
    story = Story(1)
    market_id = story.market_id.hex()
    for _ in range(2):
        status, body, replayed = await say(api, market_id, "good question", "a-key")
        assert (status, body["code"], replayed) == (404, "market_not_found", False)
    status, body, _ = await say(api, market_id, "bad question", "a-key")
    assert (status, body["code"]) == (409, "idempotency_conflict")
    story.create()
    await api.indexer.apply(story.transactions)
    answers = await asyncio.gather(*(say(api, market_id, "good question", "a-key") for _ in range(6)))
    assert sum(status == 201 and not replayed for status, _, replayed in answers) == 1
    assert {status for status, _, _ in answers} <= {201, 409}
    assert (await say(api, market_id, "good question", "a-key"))[::2] == (201, True)
    assert await comments(api) == 1


async def test_a_key_whose_daemon_died_is_free_again_after_a_minute(api: Api, market_id: str) -> None:
    await say(api, market_id, "good question", "a-key")
    async with api.database.service() as connection:
        await connection.execute("update idempotency_keys set status = null, body = null")
    status, body, _ = await say(api, market_id, "good question", "a-key")
    assert (status, body["code"]) == (409, "still_under_way")
    async with api.database.service() as connection:
        await connection.execute("update idempotency_keys set created_at = now() - interval '61 seconds'")
    status, body, _ = await say(api, market_id, "bad question", "a-key")
    assert (status, body["code"]) == (409, "idempotency_conflict")
    status, _, replayed = await say(api, market_id, "good question", "a-key")
    assert (status, replayed) == (200, False)  # the same words again: the comment that there is
    assert await comments(api) == 1


async def test_an_answer_counts_for_a_day_whether_it_is_deleted_then_or_not(api: Api, market_id: str) -> None:
    for deletes in (False, True):
        assert (await say(api, market_id, f"good question, {deletes}", "a-key"))[0] == 201
        async with api.database.service() as connection:
            await connection.execute("update idempotency_keys set expires_at = now() - interval '1 second'")
        if deletes:
            assert await delete_expired(api.database, "idempotency_keys") == 1
    assert (await say(api, market_id, "another one", "a-key"))[0] == 201
    assert await comments(api) == 3


@pytest.mark.parametrize("key", ["", "with space", "x" * 256, "ключ"])
async def test_a_key_that_is_none_is_named(api: Api, market_id: str, key: str) -> None:
    status, body, _ = await say(api, market_id, "good question", key)
    assert (status, body["details"][0]["field"]) == (400, "Idempotency-Key")
    assert await comments(api) == 0


@pytest.fixture
async def legacy_api(database: Database, redis_url: str) -> AsyncIterator[Api]:
    """The API where the earlier frontend's headers are accepted."""
    async with running_api(database, redis_url, legacy=True) as api:
        yield api


def legacy_header() -> dict[str, str]:
    """What WALLET signed, for anybody to repeat."""
    message = f"Sign in to ZMART\nTimestamp: {int(time.time() * 1_000)}"
    signature = WALLET.sign_message(message.encode())
    fields = f"message={quote(message)}&signature={signature}&wallet={WALLET.pubkey()}"
    return {"Authorization": f"Signature {fields}"}


async def test_what_a_session_was_answered_is_not_given_to_a_header(legacy_api: Api) -> None:
    story = Story(1)
    story.create()
    await legacy_api.indexer.apply(story.transactions)
    market_id = story.market_id.hex()
    assert (await say(legacy_api, market_id, "good question", "a-key"))[0] == 201
    response = await legacy_api.client.post(
        f"/api/discussions/{market_id}",
        json={"content": "good question"},
        headers={**legacy_header(), "Idempotency-Key": "a-key"},
    )
    assert (response.status, response.headers.get("Idempotency-Replayed")) == (200, None)
    assert (await say(legacy_api, market_id, "good question", "a-key"))[2]


async def test_a_kept_answer_is_given_only_to_a_credential_that_suffices(legacy_api: Api) -> None:
    body = b'{"transaction": "AAAA"}'
    request_hash = hashlib.sha256(b"POST /api/transactions\n" + body).digest()
    async with legacy_api.database.service() as connection:
        for kind in ("legacy", "session"):
            used = UsedKey(f"{kind}:{WALLET.pubkey()}", "a-key", request_hash)
            claim = await idempotency.claim(connection, used)
            assert isinstance(claim, Claim)
            await idempotency.keep(connection, claim, 202, msgspec.json.encode(SUBMITTED), "/")
    token, session = legacy_api.sessions.open(str(WALLET.pubkey()))

    async def send(headers: dict[str, str]) -> tuple[int, Any]:
        headers = {**headers, "Idempotency-Key": "a-key", "Content-Type": "application/json"}
        response = await legacy_api.client.post("/api/transactions", data=body, headers=headers)
        return response.status, await response.json()

    status, refusal = await send(legacy_header())
    assert (status, refusal["code"]) == (401, "auth_session_required")
    bearer = {"Authorization": f"Bearer {token}"}
    assert await send(bearer) == (202, SUBMITTED)
    await legacy_api.sessions.end(session)
    status, refusal = await send(bearer)
    assert (status, refusal["code"]) == (401, "auth_bad_token")


async def test_tokens_are_never_written_down(api: Api) -> None:
    token, _ = api.sessions.open(str(WALLET.pubkey()))
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "a-key"}
    refreshed = await api.client.post("/api/auth/refresh", headers=headers)
    assert refreshed.status == 200
    async with api.database.service() as connection:
        assert await connection.fetchval("select count(*) from idempotency_keys") == 0

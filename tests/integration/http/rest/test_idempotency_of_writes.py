"""A write under an Idempotency-Key and its answer are committed together: whatever comes between them and the
client, the same key gets the answer of what was written, and nothing is written twice.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from msgspec import Struct
from solders.keypair import Keypair

from tests.integration.http.rest.database_cable import Cable
from tests.integration.http.rest.rest_api import Api
from tests.integration.http.rest.rest_stage import Stage
from tests.integration.http.rest.test_market_actions import resolved_market
from tests.integration.indexer.story import Story
from zmartd.faults import Point, watching

WALLET = Keypair.from_seed(bytes([9] * 32))
CLAIM_AND_WRITE = 2
"""The transactions of a write under a key."""
LONG_AFTER = timedelta(hours=23)
"""Longer than a claim without an answer counts, and than the same comment twice is taken for one."""

_WAITING = """
select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
"""


class Sent(Struct, frozen=True):
    status: int
    body: Any
    replayed: bool


class Author(Struct, frozen=True):
    """A wallet that comments, and the comment that it has written."""

    api: Api
    token: str
    market_id: str
    comment_id: str

    async def send(self, method: str, path: str, body: Any, key: str) -> Sent:
        response = await self.api.client.request(
            method,
            path.format(market=self.market_id, comment=self.comment_id),
            json=body,
            headers={"Authorization": f"Bearer {self.token}", "Idempotency-Key": key},
        )
        replayed = response.headers.get("Idempotency-Replayed") == "true"
        return Sent(response.status, await response.json() if response.status < 500 else None, replayed)

    async def written(self) -> list[tuple[Any, ...]]:
        """All that the requests of these tests write, and what subscribers were told."""
        async with self.api.database.service() as connection:
            rows = await connection.fetch(
                "select content, edited_at::text, deleted_at::text from discussions"
                " union all select bio, updated_at::text, null from users"
                " union all select body::text, null, null from stream_messages order by 1, 2"
            )
        return [tuple(row) for row in rows]


async def grow_old(api: Api) -> None:
    """Let time pass for keys, and for comments."""
    async with api.database.service() as connection:
        await connection.execute(
            "update idempotency_keys set created_at = created_at - $1::interval", LONG_AFTER
        )
        await connection.execute("update discussions set created_at = created_at - $1::interval", LONG_AFTER)


async def an_author(api: Api) -> Author:
    story = Story(1)
    story.create()
    await api.indexer.apply(story.transactions)
    token, _ = api.sessions.open(str(WALLET.pubkey()))
    author = Author(api, token, story.market_id.hex(), "")
    first = await author.send("POST", "/api/discussions/{market}", {"content": "first"}, "first")
    return Author(api, token, author.market_id, first.body["discussion"]["id"])


@pytest.fixture
async def author(severable_api: Api) -> Author:
    return await an_author(severable_api)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/discussions/{market}", {"content": "once"}, 201),
        ("POST", "/api/markets/{market}/discussions", {"content": "once"}, 201),
        ("POST", "/api/discussions/{market}", {"content": "first"}, 200),
        ("PATCH", "/api/discussions/{comment}", {"content": "changed"}, 200),
        ("DELETE", "/api/discussions/{comment}", None, 200),
        ("PATCH", "/api/users/me", {"bio": "changed"}, 200),
    ],
)
@pytest.mark.usefixtures("embedded_postgres")  # commits of one with TLS cannot be read
async def test_what_was_committed_before_the_answer_is_answered_long_after(
    author: Author, cable: Cable, method: str, path: str, body: Any, status: int
) -> None:
    cable.cut_after_commits(CLAIM_AND_WRITE)
    assert (await author.send(method, path, body, "a-key")).status == 503
    await cable.lay()
    await grow_old(author.api)
    written = await author.written()
    again = await author.send(method, path, body, "a-key")
    assert (again.status, again.replayed) == (status, True)
    assert await author.written() == written


@pytest.mark.usefixtures("embedded_postgres")  # as above
async def test_an_older_change_that_is_sent_again_undoes_no_newer_one(author: Author, cable: Cable) -> None:
    path = "/api/users/me"
    cable.cut_after_commits(CLAIM_AND_WRITE)
    assert (await author.send("PATCH", path, {"bio": "older"}, "older")).status == 503
    await cable.lay()
    assert (await author.send("PATCH", path, {"bio": "newer"}, "newer")).body["bio"] == "newer"
    await grow_old(author.api)
    assert (await author.send("PATCH", path, {"bio": "older"}, "older")).body["bio"] == "older"
    assert "newer" in [row[0] for row in await author.written()]


async def test_who_lost_its_key_to_a_repetition_writes_nothing(api: Api, database_url: str) -> None:
    author = await an_author(api)
    path, body = "/api/discussions/{market}", {"content": "once"}
    holder, watcher = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    try:
        async with holder.transaction():
            await holder.execute("lock table discussions in share mode")
            slow = asyncio.create_task(author.send("POST", path, body, "a-key"))
            await _waiting(watcher, 1)
            async with api.database.service() as connection:
                await connection.execute(
                    "update idempotency_keys set created_at = created_at - $1::interval", LONG_AFTER
                )
            repeated = asyncio.create_task(author.send("POST", path, body, "a-key"))
            await _waiting(watcher, 2)
        answers = sorted([await slow, await repeated], key=lambda answer: answer.status)
    finally:
        await holder.close()
        await watcher.close()
    assert [answer.status for answer in answers] == [201, 409]
    assert answers[1].body["code"] == "still_under_way"
    assert [row[0] for row in await author.written()].count("once") == 1


async def _waiting(watcher: asyncpg.Connection, count: int) -> None:
    """Wait until so many wait for a lock."""
    while await watcher.fetchval(_WAITING) < count:  # noqa: ASYNC110 - Postgres tells nobody
        await asyncio.sleep(0.02)


async def test_evidence_that_is_handed_in_again_replaces_no_newer_one(stage: Stage) -> None:
    market_id = await resolved_market(stage)
    await stage.travel(1)
    await stage.bob.carry_out(f"/api/markets/{market_id}/dispute")
    author = Author(stage.api, stage.bob.token or "", market_id, "")
    path = "/api/markets/{market}/dispute/evidence"

    async def fail(point: Point) -> None:
        if point is Point.PUBLISH_BEGUN:
            raise ConnectionResetError

    with watching(fail):
        assert (await author.send("POST", path, {"evidence": "Older."}, "older")).status == 500
    assert (await author.send("POST", path, {"evidence": "Newer."}, "newer")).status == 201
    await grow_old(stage.api)
    again = await author.send("POST", path, {"evidence": "Older."}, "older")
    assert (again.status, again.replayed) == (201, True)
    shown = (await stage.api.anybody.get(f"/api/markets/{market_id}")).body["dispute_evidence"]
    assert shown["text"] == "Newer."

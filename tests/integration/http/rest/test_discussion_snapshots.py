from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.integration.http.rest.rest_api import Api, running_api
from tests.integration.store.rows import NOON, insert, insert_market, wallet
from tests.integration.store.rows import market_id as market_id_of
from zmartd.clock import SystemClock
from zmartd.config_values import ServiceUrl
from zmartd.ipfs import retrieval
from zmartd.ipfs.retrieval import MAX_BYTES_BEING_SENT, SMALL_BYTES, DocumentUnreachable, Retrieval
from zmartd.market.ids import cid_v0, cid_v1, masked
from zmartd.store import discussion_snapshots
from zmartd.store.discussion_snapshots import ReadComments, Taken
from zmartd.store.postgres.database import Database
from zmartd.task_settings import IpfsSnapshotSettings

IMMUTABLE = "public, max-age=31536000, immutable"
LATER = datetime(2026, 1, 2, tzinfo=UTC)


async def snapshot(database: Database, *texts: str, pinned: bool = True) -> tuple[str, bytes]:
    """A market with these comments, and the snapshot of them: its content id and its bytes."""
    async with database.service() as connection:
        market_id = await insert_market(connection, "rain")
        for text in texts:
            row = {
                "market_id": market_id,
                "user_wallet": wallet("author"),
                "content": text,
                "created_at": NOON,
            }
            await insert(connection, "discussions", **row)
        found = await discussion_snapshots.read(connection, market_id, LATER, 10**8)
        assert isinstance(found, ReadComments)
        content = found.snapshot.document()
        cid = cid_v0(content)
        await discussion_snapshots.save(connection, market_id, cid, content, len(texts))
        if pinned:
            taken = Taken(market_id=market_id, cid=cid, day=NOON.date(), read_at=found.read_at)
            assert await discussion_snapshots.record(connection, taken)
    return cid, content


async def forget_content(database: Database) -> None:
    """As when the snapshot is old."""
    async with database.service() as connection:
        await connection.execute("update ipfs_documents set content = null")


async def read(api: Api, cid: str, **headers: str) -> tuple[int, bytes, Any]:
    response = await api.client.get(f"/api/discussions/ipfs/{cid}", headers=headers)
    return response.status, await response.read(), response.headers


async def test_a_snapshot_is_the_same_bytes_for_ever(api: Api) -> None:
    cid, content = await snapshot(api.database, "It will rain 🌧.")
    for name in (cid, cid_v1(cid)):
        status, found, headers = await read(api, name)
        assert (status, found) == (200, content)
        assert headers["Content-Type"].startswith("application/json")
        assert (headers["Cache-Control"], headers["ETag"]) == (IMMUTABLE, f'"{cid}"')
    status, found, headers = await read(api, cid, **{"If-None-Match": f'"{cid}"'})
    assert (status, found, headers["Cache-Control"]) == (304, b"", IMMUTABLE)
    (comment,) = (await api.anybody.get(f"/api/discussions/ipfs/{cid}")).body["discussions"]
    assert comment["user_wallet"] == masked(wallet("author"))


async def test_the_list_of_comments_names_the_newest_snapshot(api: Api) -> None:
    async with api.database.service() as connection:
        await insert_market(connection, "quiet")
    cid, _ = await snapshot(api.database, "It will rain.")
    market_id = (await api.anybody.get(f"/api/discussions/ipfs/{cid}")).body["market_id"]
    assert (await api.anybody.get(f"/api/discussions/{market_id}")).body["snapshot_cid"] == cid
    quiet = await api.anybody.get(f"/api/discussions/{market_id_of('quiet')}")
    assert quiet.body["snapshot_cid"] is None


async def test_a_snapshot_of_many_blocks_is_given_whole(api: Api) -> None:
    cid, content = await snapshot(api.database, *("🌧" * 1_000 for _ in range(100)))
    assert len(content) > 262_144
    assert (await read(api, cid))[:2] == (200, content)


async def test_what_is_sent_takes_room_until_it_is_sent(api: Api) -> None:
    cid, content = await snapshot(api.database, *("🌧" * 1_000 for _ in range(250)))
    times = MAX_BYTES_BEING_SENT // len(content) + 5
    for _ in range(times):
        assert (await read(api, cid))[0] == 200
    assert (await read(api, cid, **{"If-None-Match": f'"{cid}"'}))[0] == 304

    retrieval = Retrieval(IpfsSnapshotSettings(), SystemClock(), random.Random(7))
    retrieval.take_room(2 * MAX_BYTES_BEING_SENT)  # one may always be
    with pytest.raises(DocumentUnreachable):
        retrieval.take_room(SMALL_BYTES + 1)
    retrieval.take_room(SMALL_BYTES)
    retrieval.give_room_back(2 * MAX_BYTES_BEING_SENT)
    retrieval.take_room(SMALL_BYTES + 1)


@pytest.mark.parametrize("pinned", [True, False])
async def test_what_is_unknown_or_not_pinned_is_not_found(api: Api, pinned: bool) -> None:
    cid, _ = await snapshot(api.database, "It will rain.", pinned=False)
    answer = await api.anybody.get(f"/api/discussions/ipfs/{cid_v0(b'unknown') if pinned else cid}")
    assert (answer.status, answer.body["code"]) == (404, "document_not_found")
    assert answer.headers["Cache-Control"] == "no-store"
    wrong = await api.anybody.get(
        "/api/discussions/ipfs/bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    )
    assert (wrong.status, wrong.body["details"][0]["message"]) == (
        400,
        "must be an IPFS content id of version 0, or of version 1 in base32",
    )


async def test_an_old_snapshot_is_read_from_the_directory_if_the_file_is_whole(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    cid, content = await snapshot(database, "It will rain.")
    await forget_content(database)
    async with running_api(database, redis_url, ipfs=IpfsSnapshotSettings(directory=str(tmp_path))) as api:
        assert (await read(api, cid))[0] == 404
        (tmp_path / cid).write_bytes(content[:-1])
        assert (await read(api, cid))[0] == 404
        (tmp_path / cid).write_bytes(content + b" " * 1_000)
        assert (await read(api, cid))[0] == 404
        (tmp_path / cid).write_bytes(content)
        assert (await read(api, cid))[:2] == (200, content)


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gateway:
    """An IPFS gateway that gives what a test wants."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: Counter[str] = Counter()
        self.answers: list[Answer] = []
        """The next ones; the last stays."""
        self.over = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests[request.path_qs] += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request)

    def gives(self, content: bytes, status: int = 200, headers: Mapping[str, str] = {}) -> Answer:
        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.Response(body=content, status=status, headers=headers)

        return answer

    async def hangs(self, _request: web.Request) -> web.StreamResponse:
        await self.over.wait()
        return web.Response()

    async def drips(self, request: web.Request) -> web.StreamResponse:
        """A byte now and then, for ever."""
        response = web.StreamResponse()
        await response.prepare(request)
        while not self.over.is_set():
            await response.write(b" ")
            await asyncio.sleep(0.2)
        return response

    async def floods(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 10_000)

    async def cuts(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.close()
        return response


@asynccontextmanager
async def running_gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    application = web.Application()
    application.router.add_get("/{path:.*}", gateway.handle)
    server = TestServer(application, host="127.0.0.1")
    await server.start_server()
    gateway.url = str(server.make_url("")).rstrip("/")
    try:
        yield gateway
    finally:
        gateway.over.set()
        await server.close()


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with running_gateway() as gateway:
        yield gateway


def through(gateway: Gateway, seconds: float = 5.0) -> IpfsSnapshotSettings:
    return IpfsSnapshotSettings(gateway_url=ServiceUrl(f"{gateway.url}/?key=hush"), attempt_seconds=seconds)


async def test_an_old_snapshot_is_read_from_a_gateway(
    database: Database, redis_url: str, gateway: Gateway
) -> None:
    cid, content = await snapshot(database, "It will rain.")
    await forget_content(database)
    gateway.answers = [gateway.gives(b"", 503), gateway.gives(content)]
    async with running_api(database, redis_url, ipfs=through(gateway)) as api:
        status, found, headers = await read(api, cid_v1(cid))
        assert (status, found, headers["Cache-Control"]) == (200, content, IMMUTABLE)
        assert gateway.requests == {f"/ipfs/{cid}?key=hush": 2}
        assert (await read(api, cid_v0(b"unknown")))[0] == 404
        assert sum(gateway.requests.values()) == 2, "nobody reads through us what is not ours"


@pytest.mark.parametrize("kind", [
    *("other bytes", "fewer bytes", "more bytes", "compressed", "redirect", "404"),
    *("hangs", "drips", "floods", "cuts"),
])  # fmt: skip
async def test_nothing_that_a_hostile_gateway_gives_is_passed_on(
    database: Database, redis_url: str, gateway: Gateway, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind in {"hangs", "drips", "cuts"}:  # nothing comes of it, however long it is tried
        monkeypatch.setattr(retrieval, "GATEWAY_SECONDS", 2.0)
    cid, content = await snapshot(database, "It will rain.")
    await forget_content(database)
    async with running_gateway() as private:
        private.answers = [private.gives(content)]
        answers: dict[str, Answer] = {
            "other bytes": gateway.gives(content.replace(b"will", b"wont")),
            "fewer bytes": gateway.gives(content[:-1]),
            "more bytes": gateway.gives(content + b" "),
            "compressed": gateway.gives(content, headers={"Content-Encoding": "br"}),
            "redirect": gateway.gives(b"", 302, {"Location": f"{private.url}/ipfs/{cid}"}),
            "404": gateway.gives(content, 404),
            "hangs": gateway.hangs,
            "drips": gateway.drips,
            "floods": gateway.floods,
            "cuts": gateway.cuts,
        }
        gateway.answers = [answers[kind]]
        async with running_api(database, redis_url, ipfs=through(gateway, 1.0)) as api:
            status, found, headers = await read(api, cid)
        if kind == "compressed":  # it is not decompressed, and what arrived is the document
            assert (status, found) == (200, content)
        else:
            assert (status, headers["Cache-Control"]) == (503, "no-store")
            assert b"document_unreachable" in found
            assert gateway.url.encode() not in found
        assert private.requests == {}


async def test_a_document_that_was_changed_in_the_database_is_not_given(
    database: Database, redis_url: str, gateway: Gateway
) -> None:
    cid, content = await snapshot(database, "It will rain.")
    changed = content.replace(b"will", b"wont")
    async with database.service() as connection:
        await connection.execute("update ipfs_documents set content = $1", changed)
    async with running_api(database, redis_url) as api:
        assert (await read(api, cid))[0] == 404
    gateway.answers = [gateway.gives(content)]
    async with running_api(database, redis_url, ipfs=through(gateway)) as api:
        assert (await read(api, cid))[:2] == (200, content)

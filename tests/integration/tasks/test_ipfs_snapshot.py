from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from msgspec.structs import replace
from redis.asyncio import Redis

from tests.integration.store.rows import insert, insert_market, wallet
from tests.integration.tasks.ipfs_services import (
    WRONG_CID,
    Answer,
    Services,
    body,
    cut,
    endless,
    running_services,
    status,
)
from tests.integration.tasks.world import PROGRAM_ID
from zmartd import config
from zmartd.alert_settings import AlertSettings
from zmartd.chain.codec import Codec
from zmartd.chain.idl import default_idl
from zmartd.chain.program import Program
from zmartd.chain.rpc import Rpc
from zmartd.chain.sender import Sender
from zmartd.chain.transactions import parse_transaction
from zmartd.config_values import ConfigError, Secret, ServiceUrl
from zmartd.indexer.apply import Indexer
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.plausibility import Plausibility
from zmartd.ipfs.remote import FAILURES, LONGEST_QUIET_SECONDS, Remote, RemoteUnavailable
from zmartd.market.ids import cid_v0, masked
from zmartd.market.lifecycle import MarketState
from zmartd.realtime.bus import Bus
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store.postgres.database import Database
from zmartd.task_settings import IpfsSnapshotSettings, Pinning, TaskSettings
from zmartd.tasks.base import TaskAction, TaskSkipped
from zmartd.tasks.context import TaskContext
from zmartd.tasks.ipfs_snapshot import PURGE_BATCH, IpfsSnapshot
from zmartd.tasks.plugins import discover
from zmartd.transactions.outbox import DatabaseOutbox
from zmartd.transactions.submission import Submitter

NOWHERE = "http://127.0.0.1:9"
TODAY = date(2026, 3, 10)
YESTERDAY = TODAY - timedelta(days=1)
TOKEN = "a-token-that-nobody-should-see"
PIN_FILE, ADD, PINS, PIN = "POST /pinning/pinFileToIPFS", "POST /api/v0/add", "POST /pins", "GET /pins/{id}"


class SkippingClock:
    """Does not wait, and remembers for how long it should have. It is half past midnight of `today`."""

    def __init__(self) -> None:
        self.today = TODAY
        self.pauses: list[float] = []
        self.skipped = 0.0

    def time(self) -> float:
        return datetime(self.today.year, self.today.month, self.today.day, 0, 30, tzinfo=UTC).timestamp()

    def monotonic(self) -> float:
        return time.monotonic() + self.skipped

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.skipped += max(0.0, seconds)
        await asyncio.sleep(0)


class Stage:
    """A task on a database with markets and comments, and the services that it may ask."""

    def __init__(
        self, context: TaskContext, services: Services, clock: SkippingClock, tmp_path: Path
    ) -> None:
        self.services = services
        self.clock = clock
        self.database = context.database
        self.directory = tmp_path / "pinned"
        self._context = context

    def task(self, pinning: Pinning = "pinata", **changed: Any) -> IpfsSnapshot:
        return IpfsSnapshot(self.context(pinning, **changed))

    def context(self, pinning: Pinning, **changed: Any) -> TaskContext:
        """What a daemon with these settings gives its tasks."""
        given: dict[str, Any] = {
            "enabled": True,
            "pinning": pinning,
            "directory": str(self.directory),
            "service_url": ServiceUrl(self.services.url),
            "service_token": Secret(TOKEN),
            "node_url": ServiceUrl(self.services.url),
        }
        settings = replace(IpfsSnapshotSettings(), **(given | changed))
        tasks = TaskSettings(ipfs_snapshot=settings)
        fields = {name: getattr(self._context, name) for name in TaskContext.__slots__}
        return TaskContext(**(fields | {"settings": tasks}))

    async def market(self, name: str, *texts: str, state: MarketState = MarketState.ACTIVE) -> str:
        """A market with these comments, each a minute after the one before."""
        async with self.database.service() as connection:
            market_id = await insert_market(connection, name, state)
        for minute, text in enumerate(texts):
            await self.say(market_id, text, minute=minute)
        return market_id

    async def say(self, market_id: str, text: str, day: date = YESTERDAY, minute: int = 0) -> str:
        at = datetime(day.year, day.month, day.day, 12, minute, 7, 123456, tzinfo=UTC)
        row = {"market_id": market_id, "user_wallet": wallet("author"), "content": text, "created_at": at}
        async with self.database.service() as connection:
            return str((await insert(connection, "discussions", **row))["id"])

    async def fetch(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        async with self.database.service() as connection:
            return [tuple(row) for row in await connection.fetch(query, *values)]

    async def newest(self, market_id: str) -> str | None:
        ((cid,),) = await self.fetch("select discussion_snapshot_cid from markets where id = $1", market_id)
        return None if cid is None else str(cid)

    async def anchors(self, market_id: str) -> list[tuple[Any, ...]]:
        return await self.fetch(
            "select snapshot_date, ipfs_hash, discussions_count from ipfs_anchors where market_id = $1 "
            "order by snapshot_date",
            market_id,
        )

    async def nothing_is_recorded(self) -> bool:
        return await self.fetch(
            "select (select count(*) from ipfs_anchors), "
            "(select count(*) from ipfs_documents where pinned_at is not null), "
            "(select count(*) from markets where discussion_snapshot_cid is not null)"
        ) == [(0, 0, 0)]


@pytest.fixture
async def stage(database: Database, redis_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """Nobody answers at the RPC endpoint: the task needs no chain."""
    clock, idl = SkippingClock(), default_idl(str(PROGRAM_ID))
    program = Program(idl, PROGRAM_ID)
    async with AsyncExitStack() as stack:
        redis = Redis.from_url(redis_url)
        stack.push_async_callback(redis.aclose)
        rpc = await stack.enter_async_context(Rpc(NOWHERE, clock=clock))
        outbox = DatabaseOutbox(database, config.TransactionSettings())
        sender = await stack.enter_async_context(Sender(rpc, outbox, clock, idl))
        publisher = StreamPublisher(Bus(redis, clock))

        def parse(raw: Any) -> Any:
            return parse_transaction(raw, program_id=PROGRAM_ID, codec=Codec(idl))

        indexer = Indexer(database, publisher, program.pdas)
        fetcher = Fetcher(rpc, indexer, parse, Plausibility(rpc.chain_time, clock))
        context = TaskContext(
            settings=TaskSettings(),
            realtime=config.RealtimeSettings(),
            voting=config.VotingSettings(),
            alerts=AlertSettings(),
            database=database,
            redis=redis,
            publisher=publisher,
            rpc=rpc,
            program=program,
            fetcher=fetcher,
            submitter=Submitter(database, sender, fetcher),
            clock=clock,
            authority=None,
        )
        services = await stack.enter_async_context(running_services())
        yield Stage(context, services, clock, tmp_path)


def failures(service: str, reason: str) -> int:
    return FAILURES.labels(service, reason).value


async def test_it_is_disabled_and_says_what_it_needs(stage: Stage) -> None:
    assert not IpfsSnapshotSettings().enabled
    with pytest.raises(TaskSkipped, match=r"set tasks\.ipfs_snapshot\.directory, or another `pinning`"):
        await stage.task("directory", enabled=False, directory="").run()
    with pytest.raises(ConfigError, match=r"set tasks\.ipfs_snapshot\.service_token"):
        stage.task("pinata", service_token=Secret())
    with pytest.raises(ConfigError, match=r"ipfs_snapshot\.service_url, tasks\.ipfs_snapshot\.node_url"):
        stage.task("pinning_service", service_url=ServiceUrl(), node_url=ServiceUrl())


async def test_a_setting_that_is_missing_costs_the_daemon_no_other_task(stage: Stage) -> None:
    found = discover(stage.context("pinata", service_token=Secret()))
    assert [(one.name, one.problem) for one in found.broken] == [
        ("ipfs_snapshot", "set tasks.ipfs_snapshot.service_token, or another `pinning`")
    ]
    assert "reconciler" in {task.name for task in found.tasks}


async def test_a_snapshot_is_the_same_document_whoever_makes_it(stage: Stage) -> None:
    market_id = await stage.market("rain", "It will rain 🌧.", 'Says "who"?\n')
    reply = await stage.say(market_id, "gone", minute=2)
    later = await stage.say(market_id, "today", day=TODAY)
    async with stage.database.service() as connection:
        await connection.execute("update discussions set deleted_at = now() where id = $1::uuid", reply)
    (done,) = await stage.task("directory").run()

    cid = await stage.newest(market_id)
    assert cid is not None
    assert done == TaskAction(market_id, "pin_snapshot", ok=True, detail=cid)
    content = (stage.directory / cid).read_bytes()
    assert cid_v0(content) == cid
    rows = await stage.fetch("select id from discussions where deleted_at is null order by created_at")
    ids = [str(row[0]) for row in rows]
    assert ids.pop() == later, "what is said today is in tomorrow's snapshot"
    author = masked(wallet("author"))
    assert content.decode() == (
        '{"discussions":['
        '{"content":"It will rain 🌧.","created_at":"2026-03-09T12:00:07.123Z","edited_at":null,'
        f'"id":"{ids[0]}","parent_id":null,"user_wallet":"{author}"}},'
        '{"content":"Says \\"who\\"?\\n","created_at":"2026-03-09T12:01:07.123Z","edited_at":null,'
        f'"id":"{ids[1]}","parent_id":null,"user_wallet":"{author}"}}'
        f'],"discussions_count":2,"market_id":"{market_id}","snapshot_version":"1.0"}}'
    )
    assert await stage.anchors(market_id) == [(YESTERDAY, cid, 2)]
    assert await stage.task("directory").run() == []
    assert [file.name for file in stage.directory.iterdir()] == [cid]


async def test_markets_in_play_and_final_ones_with_news_get_snapshots(stage: Stage) -> None:
    made = {state: await stage.market(state.name, "So.", state=state) for state in MarketState}
    await stage.market("silent")
    await stage.task("directory").run()
    taken = {state for state, market_id in made.items() if await stage.newest(market_id)}
    assert taken == {MarketState.ACTIVE, MarketState.RESOLVING, MarketState.DISPUTED, MarketState.FINALIZED}
    assert await stage.fetch("select count(*) from ipfs_anchors") == [(4,)]


async def test_what_has_not_changed_is_not_pinned_again(stage: Stage) -> None:
    market_id = await stage.market("rain", "It will rain.")
    await stage.task().run()
    first = await stage.newest(market_id)
    for _ in range(3):
        stage.clock.today += timedelta(days=1)
        assert await stage.task().run() == []
    assert stage.services.requests[PIN_FILE] == 1
    assert [anchor[1:] for anchor in await stage.anchors(market_id)] == [(first, 1)]

    await stage.say(market_id, "It has rained.", day=stage.clock.today - timedelta(days=1))
    (second,) = await stage.task().run()
    cid = await stage.newest(market_id)
    assert second.detail == cid != first

    async with stage.database.service() as connection:
        await connection.execute("update discussions set deleted_at = now() where content = 'It has rained.'")
    stage.clock.today += timedelta(days=1)
    assert await stage.task().run() == [], "the first one is true again, and pinned already"
    assert await stage.newest(market_id) == first
    assert [anchor[1:] for anchor in await stage.anchors(market_id)] == [(first, 1), (cid, 2), (first, 1)]
    assert stage.services.requests[PIN_FILE] == 2


async def test_a_change_of_a_comment_is_in_the_next_snapshot(stage: Stage) -> None:
    ((now,),) = await stage.fetch("select now()")
    stage.clock.today = now.date() + timedelta(days=1)
    market_id = await stage.market("rain")
    async with stage.database.service() as connection:
        row = {"market_id": market_id, "user_wallet": wallet("author"), "content": "It wil rain."}
        await insert(connection, "discussions", **row)
    await stage.task().run()
    async with stage.database.service() as connection:
        await connection.execute("update discussions set content = 'It will rain.'")
    stage.clock.today += timedelta(days=1)
    (done,) = await stage.task().run()
    cid = await stage.newest(market_id)
    assert done.detail == cid
    (comment,) = json.loads(stage.services.files[str(cid)])["discussions"]
    assert comment["content"] == "It will rain."
    assert comment["edited_at"] is not None


async def test_a_discussion_of_many_blocks_is_one_document(stage: Stage) -> None:
    market_id = await stage.market("long", *("🌧" * 1_000 for _ in range(60)))
    for hour in range(4):
        await asyncio.gather(
            *(stage.say(market_id, "🌧" * 1_000, YESTERDAY - timedelta(days=hour), it) for it in range(10))
        )
    (done,) = await stage.task().run()
    cid = await stage.newest(market_id)
    assert done.detail == cid
    assert len(stage.services.files[str(cid)]) > 262_144


async def test_a_discussion_that_is_too_long_is_reported(stage: Stage) -> None:
    market_id = await stage.market("long", *("x" * 500 for _ in range(3)))
    (failed,) = await stage.task(max_document_bytes=2_000).run()
    assert (failed.market_id, failed.ok) == (market_id, False)
    assert failed.detail.startswith("3 comments are about 2250 bytes, more than tasks.ipfs_snapshot.max_doc")
    assert await stage.nothing_is_recorded()


@pytest.mark.parametrize(("trouble", "reason"), [
    pytest.param(status(429), "HTTP 429", id="429"),
    pytest.param(status(500), "HTTP 500", id="500"),
    pytest.param(status(503), "HTTP 503", id="503"),
    pytest.param(cut, "remote protocol", id="cut"),
])  # fmt: skip
async def test_a_passing_trouble_is_waited_out(stage: Stage, trouble: Answer, reason: str) -> None:
    market_id = await stage.market("rain", "It will rain.")
    before = failures("pinata", reason)
    stage.services.instead(PIN_FILE, trouble, trouble)
    (done,) = await stage.task().run()
    assert done.ok, done.detail
    assert await stage.newest(market_id) in stage.services.files
    assert failures("pinata", reason) == before + 2
    first, second = stage.clock.pauses
    assert 0.4 < first <= 1
    assert 0.9 < second <= 2


async def test_a_service_that_does_not_answer_is_asked_again(stage: Stage) -> None:
    market_id = await stage.market("rain", "It will rain.")
    before = failures("pinata", "timeout")
    stage.services.instead(PIN_FILE, stage.services.hang)
    (done,) = await stage.task(attempt_seconds=2.0).run()
    assert (done.market_id, done.ok) == (market_id, True)
    assert failures("pinata", "timeout") > before


@pytest.mark.parametrize("as_date", [False, True])
async def test_a_service_that_asks_to_be_left_alone_is(stage: Stage, as_date: bool) -> None:
    for name in ("one", "two", "three"):
        await stage.market(name, "So.")
    until = datetime.fromtimestamp(stage.clock.time() + 100, UTC)
    header = format_datetime(until, usegmt=True) if as_date else "100"
    stage.services.instead(PIN_FILE, status(429, Retry_After=header))
    actions = await stage.task().run()
    assert [action.ok for action in actions] == [True] * 3
    assert max(stage.clock.pauses) > 98


async def test_a_service_that_wants_more_time_than_a_market_has_gets_it_until_the_next_run(
    stage: Stage,
) -> None:
    await stage.market("rain", "It will rain.")
    stage.services.instead(PIN_FILE, status(429, Retry_After="86400"))
    (failed,) = await stage.task().run()
    assert failed.detail == "pinata does not answer: HTTP 429; the next run tries again"
    assert stage.services.requests[PIN_FILE] == 1
    assert stage.clock.pauses == []
    assert await stage.nothing_is_recorded()
    (done,) = await stage.task().run()
    assert done.ok


async def test_a_service_that_asks_for_years_is_asked_again_after_an_hour(stage: Stage) -> None:
    stage.services.instead(PIN_FILE, status(429, Retry_After="999999999"), body("{}"))
    url, rng = ServiceUrl(stage.services.url), random.Random(5)
    async with Remote("pinata", url, clock=stage.clock, rng=rng, attempt_seconds=30.0) as remote:
        with pytest.raises(RemoteUnavailable):
            await remote.call(*PIN_FILE.split(), until=stage.clock.monotonic() + 60)
        later = stage.clock.monotonic() + LONGEST_QUIET_SECONDS + 60
        assert await remote.call(*PIN_FILE.split(), until=later) == b"{}"
    assert stage.services.requests[PIN_FILE] == 2
    assert max(stage.clock.pauses) <= LONGEST_QUIET_SECONDS


def named(cid: str) -> Answer:
    return body(json.dumps({"IpfsHash": cid}))


NAMES_ANOTHER = "pinata names {}, and the document is"
UNREADABLE = "pinata's answer cannot be read"
NO_ANSWER = "pinata does not answer: {}; the next run tries again"


@pytest.mark.parametrize(("answer", "said", "reason"), [
    pytest.param(named(WRONG_CID), NAMES_ANOTHER.format(WRONG_CID), "wrong content id", id="another"),
    pytest.param(named(TOKEN), NAMES_ANOTHER.format("no content id"), "wrong content id", id="the token"),
    pytest.param(body(b"{}"), UNREADABLE, "unreadable", id="without"),
    pytest.param(body(b"\xff"), UNREADABLE, "unreadable", id="no JSON"),
    pytest.param(endless, "pinata answers with more than 65536 bytes", "too large", id="endless"),
    pytest.param(status(400), "pinata refuses the request: HTTP 400", "HTTP 400", id="400"),
    pytest.param(status(503), NO_ANSWER.format("HTTP 503"), "HTTP 503", id="503"),
    pytest.param(cut, NO_ANSWER.format("remote protocol"), "remote protocol", id="cut"),
])  # fmt: skip
async def test_a_market_that_fails_is_reported_and_holds_up_no_other(
    stage: Stage, answer: Answer, said: str, reason: str
) -> None:
    bad = await stage.market("bad", "Poison.")
    good = [await stage.market(f"good {number}", "Fine.") for number in range(6)]
    before = failures("pinata", reason)
    stage.services.always_for("Poison.", answer)
    actions = {action.market_id: action for action in await stage.task().run()}
    assert {market_id: action.ok for market_id, action in actions.items()} == {
        bad: False,
        **dict.fromkeys(good, True),
    }
    assert actions[bad].detail.startswith(said)
    assert failures("pinata", reason) > before
    assert (await stage.newest(bad), await stage.anchors(bad)) == (None, [])
    assert await stage.fetch("select count(*) from ipfs_documents where pinned_at is null") == [(1,)]

    stage.services.behave()
    (done,) = await stage.task().run()
    assert (done.market_id, done.ok) == (bad, True)
    assert stage.services.requests[PIN_FILE] >= 8


async def test_a_redirect_is_not_followed_and_gets_no_token(stage: Stage) -> None:
    await stage.market("rain", "It will rain.")
    stage.services.instead(PIN_FILE, status(307, Location=f"{stage.services.url}/pins"))
    (failed,) = await stage.task().run()
    assert failed.detail == "pinata refuses the request: HTTP 307"
    assert stage.services.requests == {PIN_FILE: 1}


async def test_a_token_that_is_refused_ends_the_run_and_is_not_shown(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(9):
        await stage.market(f"market {number}", "So.")
    stage.services.instead(PIN_FILE, *[status(401)] * 9)
    *failed, left = await stage.task().run()
    assert {action.detail for action in failed} == {
        "pinata answers HTTP 401: check the token and the account"
    }
    assert 1 <= len(failed) <= 4
    assert left.detail == f"{9 - len(failed)} markets are left for the next run: the service refuses access"
    assert stage.services.authorizations == {f"Bearer {TOKEN}"}
    printed = capsys.readouterr()
    assert TOKEN not in printed.out + printed.err + repr(failed) + repr(stage.task()._settings)
    assert await stage.nothing_is_recorded()


async def test_a_run_begins_with_no_other_market_when_its_time_is_over(stage: Stage) -> None:
    for number in range(9):
        await stage.market(f"market {number}", "So.")
    stage.services.instead(PIN_FILE, *[status(503)] * 4)
    *done, left = await stage.task(run_seconds=0.3).run()
    assert left.detail == f"{9 - len(done)} markets are left for the next run: 0.3 seconds are over"
    again = await stage.task().run()
    assert len(done) + len(again) == 9
    assert all(action.ok for action in again)


async def test_an_interrupted_run_goes_on_where_it_was(stage: Stage) -> None:
    markets = {await stage.market(f"market {number}", f"Text {number}.") for number in range(6)}
    stage.services.always_for("Text 3.", stage.services.hang)
    run = asyncio.create_task(stage.task().run())
    await stage.services.stuck.wait()
    while len(stage.services.files) < 5:  # noqa: ASYNC110 - it is another's event
        await asyncio.sleep(0.01)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    uploads = stage.services.requests[PIN_FILE]
    pinned = await stage.fetch("select market_id from ipfs_anchors")

    stage.services.behave()
    done = await stage.task().run()
    assert {action.market_id for action in done} == markets - {market_id for (market_id,) in pinned}
    assert stage.services.requests[PIN_FILE] == uploads + len(done)
    assert {market_id for (market_id,) in await stage.fetch("select market_id from ipfs_anchors")} == markets
    assert await stage.fetch("select count(*) from ipfs_documents where pinned_at is null") == [(0,)]


async def test_two_daemons_at_once_record_the_same(stage: Stage) -> None:
    markets = [await stage.market(f"market {number}", "So.") for number in range(8)]
    both = await asyncio.gather(stage.task().run(), stage.task().run())
    assert all(action.ok for actions in both for action in actions)
    assert await stage.fetch("select count(*) from ipfs_anchors") == [(len(markets),)]
    assert await stage.fetch("select count(*) from ipfs_documents") == [(len(markets),)]


async def test_a_daemon_that_is_a_day_late_does_not_take_a_market_back(stage: Stage) -> None:
    market_id = await stage.market("rain", "It will rain.")
    stage.services.always_for("It will rain.", stage.services.hang)
    late = asyncio.create_task(stage.task().run())
    await stage.services.stuck.wait()
    stage.services.behave()
    await stage.say(market_id, "It has rained.", day=TODAY)
    stage.clock.today += timedelta(days=1)
    await stage.task().run()
    newest = await stage.newest(market_id)
    stage.services.end()
    await late
    assert await stage.newest(market_id) == newest
    assert await stage.anchors(market_id) == [(TODAY, newest, 2)]
    assert await stage.fetch("select cid from ipfs_documents") == [(newest,)]


async def test_the_node_has_the_document_before_a_service_is_asked_to_pin_it(stage: Stage) -> None:
    market_id = await stage.market("rain", "It will rain.")
    address = "/ip4/198.51.100.7/tcp/4001/p2p/12D3KooWA"
    (done,) = await stage.task("pinning_service", node_addresses=(address,)).run()
    cid = await stage.newest(market_id)
    assert done.detail == cid
    assert list(stage.services.files) == [cid]
    assert stage.services.wanted == [
        {"cid": cid, "name": f"discussion of market {market_id}", "origins": [address]}
    ]
    assert stage.services.requests == {ADD: 1, "GET /pins": 1, PINS: 1}
    assert stage.services.authorizations == {None, f"Bearer {TOKEN}"}, "the node gets no token"


async def test_a_service_is_asked_until_it_has_fetched_the_document(stage: Stage) -> None:
    market_id = await stage.market("rain", "It will rain.")
    stage.services.pin_status = "queued"
    services = stage.services

    def then(state: str) -> Answer:
        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.json_response(services.pins["request/1"] | {"status": state})

        return answer

    services.instead(PIN, then("queued"), then("pinning"), then("pinned"))
    (done,) = await stage.task("pinning_service").run()
    assert done.ok
    assert await stage.newest(market_id) is not None
    assert stage.clock.pauses == [1.0, 2.0, 4.0]


async def test_requests_are_awaited_together(stage: Stage) -> None:
    markets = [await stage.market(f"market {number}", "So.") for number in range(9)]
    services = stage.services
    services.pin_status = "queued"

    async def queued_for_the_last_time(request: web.Request) -> web.StreamResponse:
        known = services.pins[request.path.removeprefix("/pins/")]
        answer = web.json_response(known)
        known["status"] = "pinned"
        return answer

    services.instead(PIN, *[queued_for_the_last_time] * len(markets))
    done = await stage.task("pinning_service").run()
    assert sorted((str(action.market_id), action.ok) for action in done) == [
        (market_id, True) for market_id in sorted(markets)
    ]
    assert stage.clock.pauses == [1.0, 2.0]


async def test_a_request_that_is_not_fulfilled_yet_is_asked_about_by_the_next_run(stage: Stage) -> None:
    market_id = await stage.market("rain", "It will rain.")
    stage.services.pin_status = "queued"
    before = failures("pinning_service", "not fetched yet")
    (pending,) = await stage.task("pinning_service").run()
    said = "the service has not fetched the document yet; the next run asks again"
    assert (pending.ok, pending.detail) == (False, said)
    assert failures("pinning_service", "not fetched yet") == before + 1
    assert sum(stage.clock.pauses) <= 300
    assert await stage.nothing_is_recorded()
    assert await stage.fetch("select pin_request from ipfs_documents") == [("request/1",)]

    stage.services.pins["request/1"]["status"] = "pinned"
    (done,) = await stage.task("pinning_service").run()
    assert done.ok
    assert stage.services.requests[PINS] == 1
    assert await stage.newest(market_id) is not None


async def test_a_request_that_was_made_and_not_remembered_is_found(stage: Stage) -> None:
    await stage.market("rain", "It will rain.")
    stage.services.instead("GET /pins", body(b'{"count": 0, "results": []}'))
    stage.services.pin_status = "pinning"
    await stage.task("pinning_service").run()
    (made,) = stage.services.pins.values()
    made["pin"]["cid"] = stage.services.wanted[0]["cid"]
    async with stage.database.service() as connection:
        await connection.execute("update ipfs_documents set pin_request = null")
    made["status"] = "pinned"
    (done,) = await stage.task("pinning_service").run()
    assert done.ok
    assert stage.services.requests[PINS] == 1


async def test_a_request_that_failed_is_made_anew(stage: Stage) -> None:
    await stage.market("rain", "It will rain.")
    stage.services.pin_status = "failed"
    (failed,) = await stage.task("pinning_service").run()
    assert failed.detail.startswith("The pinning service could not pin the document")
    assert await stage.nothing_is_recorded()
    stage.services.pins.clear()
    stage.services.pin_status = "pinned"
    (done,) = await stage.task("pinning_service").run()
    assert done.ok


@pytest.mark.parametrize("key", [ADD, PINS, PIN])
async def test_a_wrong_content_id_of_the_service_or_the_node_is_no_pin(stage: Stage, key: str) -> None:
    await stage.market("rain", "It will rain.")
    stage.services.pin_status = "queued"
    pinned = {"requestid": "x", "status": "pinned", "pin": {"cid": WRONG_CID}, "Hash": WRONG_CID}
    stage.services.instead(key, body(json.dumps(pinned)))
    (failed,) = await stage.task("pinning_service").run()
    service = "node" if key == ADD else "pinning_service"
    assert failed.detail.startswith(f"{service} names {WRONG_CID}, and the document is Qm")
    assert await stage.nothing_is_recorded()


async def test_a_directory_that_cannot_be_written_is_reported(stage: Stage) -> None:
    await stage.market("rain", "It will rain.")
    stage.directory.write_text("a file")
    (failed,) = await stage.task("directory").run()
    assert failed.detail == ("the document cannot be written in tasks.ipfs_snapshot.directory: File exists")
    assert await stage.nothing_is_recorded()


async def test_a_file_that_was_cut_is_written_again(stage: Stage) -> None:
    market_id = await stage.market("rain", "It will rain.")
    await stage.task("directory").run()
    (file,) = stage.directory.iterdir()
    whole = file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o644
    file.write_bytes(whole[:50])
    async with stage.database.service() as connection:
        await connection.execute("delete from ipfs_anchors")
        await connection.execute("update markets set discussion_snapshot_cid = null")
        await connection.execute("update ipfs_documents set pinned_at = null")
    (done,) = await stage.task("directory").run()
    assert (done.market_id, done.ok) == (market_id, True)
    assert file.read_bytes() == whole


async def test_anchors_go_after_ninety_days_in_bounded_steps(stage: Stage) -> None:
    market_id = await stage.market("rain", "It will rain.")
    await stage.task().run()
    old, newest = await stage.newest(market_id), ""
    stage.clock.today += timedelta(days=1)
    await stage.say(market_id, "It has rained.", day=TODAY)
    await stage.task().run()
    newest = str(await stage.newest(market_id))
    rows = PURGE_BATCH * 2 + 10
    async with stage.database.service() as connection:
        await connection.execute(
            "insert into ipfs_anchors (market_id, ipfs_hash, discussions_count, snapshot_date) "
            "select $1, 'x', 1, $2::date - number from generate_series(1, $3::integer) as number",
            *(market_id, YESTERDAY - timedelta(days=1), rows),
        )
        await connection.execute(
            "update ipfs_documents set pinned_at = $1", datetime(2026, 3, 10, tzinfo=UTC)
        )
    assert [anchor[1] for anchor in await stage.anchors(market_id)][-2:] == [old, newest]

    stage.clock.today = YESTERDAY + timedelta(days=90)
    (purged,) = await stage.task().run()
    assert purged.detail == f"{rows} anchors, 0 documents"
    assert [anchor[1] for anchor in await stage.anchors(market_id)] == [old, newest]

    stage.clock.today += timedelta(days=3)
    (purged,) = await stage.task().run()
    assert purged.detail == "2 anchors, 1 documents"
    assert await stage.fetch("select cid, content is null from ipfs_documents order by 2") == [
        (newest, False),
        (old, True),
    ], "the market names the newest one still"
    assert await stage.newest(market_id) == newest
    assert stage.services.requests[PIN_FILE] == 2
    assert await stage.task().run() == []

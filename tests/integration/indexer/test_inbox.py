from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from tests.integration.indexer.story import PROGRAM, Story, present
from tests.integration.store.expiry import delete_expired
from tests.integration.tasks.manual_clock import ManualClock
from tests.patience import patient_database
from zmartd.chain.answers import ChainTime
from zmartd.chain.arguments import MalformedTransaction
from zmartd.chain.pdas import Pdas
from zmartd.chain.transactions import ChainTransaction
from zmartd.chain.transport import RpcUnavailable
from zmartd.clock import SystemClock
from zmartd.embedded.postgres import Durability, EmbeddedPostgres
from zmartd.indexer.apply import Indexer
from zmartd.indexer.deliveries import MalformedDelivery
from zmartd.indexer.inbox import Inbox
from zmartd.indexer.plausibility import Plausibility
from zmartd.realtime.bus import Bus
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store import inbox as deliveries
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseUnavailable
from zmartd.store.postgres.migrations import migrate


class Transcript:
    """Parses deliveries that name a transaction of a story by its position."""

    def __init__(self, story: Story) -> None:
        self._story = story

    def __call__(self, raw: msgspec.Raw) -> ChainTransaction:
        given = msgspec.json.decode(raw, type=dict[str, Any])
        if "position" not in given:
            raise MalformedTransaction("there is no position")
        transaction: ChainTransaction = self._story.transactions[given["position"]]
        return transaction


@pytest.fixture
async def indexer(database: Database, redis_url: str) -> AsyncIterator[Indexer]:
    redis = Redis.from_url(redis_url)
    yield Indexer(database, StreamPublisher(Bus(redis, SystemClock())), Pdas(PROGRAM))
    await redis.aclose()


@pytest.fixture
def story() -> Story:
    story = Story(seed=20)
    story.create()
    story.open_for_trading()
    story.trade(5)
    return story


@pytest.fixture
def inbox(database: Database, indexer: Indexer, story: Story) -> Inbox:
    return Inbox(database, indexer, Transcript(story), SystemClock(), as_told())


def as_told() -> Plausibility:
    return Plausibility(present, SystemClock())


def delivery(*positions: int) -> bytes:
    return msgspec.json.encode([{"position": position} for position in positions])


async def depth(database: Database) -> tuple[int, int]:
    async with database.service() as connection:
        found = await deliveries.depth(connection)
    return found.pending, found.parked


async def test_what_a_deleted_delivery_said_is_known_when_it_comes_again(
    database: Database, inbox: Inbox, story: Story
) -> None:
    everything = delivery(*range(len(story.transactions)))

    async def index() -> list[list[asyncpg.Record]]:
        async with database.service() as connection:
            return [
                await connection.fetch(f"select * from {table} order by 1")
                for table in ("trade_events", "trades", "user_positions", "lots", "stream_messages")
            ]

    for _ in range(2):
        await inbox.accept(everything)
        await inbox.apply_batch()
    before = await index()
    assert all(before)
    async with database.service() as connection:
        await connection.execute("update webhook_inbox set settled_at = now() - interval '8 days'")
    assert await delete_expired(database, "webhook_inbox") == 1

    await inbox.accept(everything)
    assert await inbox.apply_batch() == 1
    assert await applied(database) == 2
    assert await index() == before


async def applied(database: Database) -> int:
    async with database.service() as connection:
        done: int = await connection.fetchval("select count(*) from webhook_inbox where status = 'done'")
    return done


async def test_an_accepted_delivery_is_there_before_anybody_works_on_it(
    inbox: Inbox, database: Database
) -> None:
    assert await inbox.accept(delivery(0, 1)) == 2
    assert await depth(database) == (1, 0)


async def test_how_long_deliveries_waited_is_measured_when_they_are_applied(
    inbox: Inbox, database: Database
) -> None:
    def measured(name: str) -> tuple[float, float]:
        number, total = (REGISTRY.get_sample_value(f"zmartd_{name}_{of}") for of in ("count", "sum"))
        return number or 0, total or 0

    applied, delays = measured("indexer_apply_seconds"), measured("inbox_delay_seconds")
    await inbox.accept(delivery(0))
    await inbox.accept(delivery(1))
    async with database.service() as connection:
        await connection.execute("update webhook_inbox set received_at = received_at - interval '100 s'")
    await inbox.apply_batch()
    number, seconds = measured("inbox_delay_seconds")
    assert number == delays[0] + 2
    assert seconds >= delays[1] + 200
    number, seconds = measured("indexer_apply_seconds")
    assert number == applied[0] + 1
    assert seconds > applied[1]


async def test_many_deliveries_at_once_are_all_kept_and_applied(
    inbox: Inbox, database: Database, story: Story
) -> None:
    count = len(story.transactions)
    await asyncio.gather(*(inbox.accept(delivery(position)) for position in range(count)))
    assert await depth(database) == (count, 0)
    while await inbox.apply_batch():
        pass
    assert await depth(database) == (0, 0)
    async with database.service() as connection:
        assert await connection.fetchval("select total_volume from markets") == story.volume


async def test_deliveries_are_let_go_while_the_node_is_asked_about_them(
    database: Database, indexer: Indexer, story: Story
) -> None:
    free: list[int] = []

    async def ask() -> ChainTime:
        async with database.service() as connection:
            free.append(len(await deliveries.take(connection, datetime.now(UTC), 10)))
        return await present()

    inbox = Inbox(database, indexer, Transcript(story), SystemClock(), Plausibility(ask, SystemClock()))
    await inbox.accept(delivery(0, 1))
    assert await inbox.apply_batch() == 1
    assert free == [1]
    assert await depth(database) == (0, 0)
    assert await inbox.apply_batch() == 0


async def test_deliveries_wait_for_the_first_answer_of_the_node(
    database: Database, indexer: Indexer, story: Story
) -> None:
    """Before it, a daemon that has just started would doubt all that it is told."""
    away, clock = True, ManualClock()

    async def ask() -> ChainTime:
        if away:
            raise RpcUnavailable
        return await present()

    inbox = Inbox(database, indexer, Transcript(story), SystemClock(), Plausibility(ask, clock))
    await inbox.accept(delivery(0, 1))
    for _ in range(3):
        assert await inbox.apply_batch() == 0
        clock.advance(1)
    assert await depth(database) == (1, 0)
    away = False
    clock.advance(1)
    assert await inbox.apply_batch() == 1
    assert await depth(database) == (0, 0)
    async with database.service() as connection:
        assert await connection.fetchval("select count(*) from unverified_transactions") == 0
        assert await connection.fetchval("select count(*) from vote_events") == 1


async def test_while_no_node_has_answered_deliveries_are_not_read_again_and_again(
    database: Database, indexer: Indexer, story: Story
) -> None:
    """Each one that arrives would have all that wait before it read."""
    clock, parse = ManualClock(), Transcript(story)
    read: list[msgspec.Raw] = []

    def counted(raw: msgspec.Raw) -> ChainTransaction:
        read.append(raw)
        return parse(raw)

    async def ask() -> ChainTime:
        raise RpcUnavailable

    inbox = Inbox(database, indexer, counted, SystemClock(), Plausibility(ask, clock))
    await inbox.accept(delivery(0))
    for _ in range(20):
        assert await inbox.apply_batch() == 0
    assert len(read) <= 2
    clock.advance(10)
    assert await inbox.apply_batch() == 0
    assert len(read) <= 4


async def test_a_poisonous_delivery_is_parked_and_holds_up_no_other(inbox: Inbox, database: Database) -> None:
    for body in (delivery(0), b'{"no": "transaction"}', delivery(1)):
        await inbox.accept(body)
    await inbox.apply_batch()
    assert await depth(database) == (0, 1)
    async with database.service() as connection:
        [parked] = await deliveries.parked(connection, limit=10)
        assert parked.error == "transaction 1 of 1: there is no position"
        assert await connection.fetchval("select count(*) from vote_events") == 1


async def test_two_daemons_share_the_work(
    inbox: Inbox, database: Database, indexer: Indexer, story: Story
) -> None:
    other = Inbox(database, indexer, Transcript(story), SystemClock(), as_told())
    for position in range(len(story.transactions)):
        await inbox.accept(delivery(position, 0))
    await asyncio.gather(inbox.apply_batch(), other.apply_batch())
    assert await depth(database) == (0, 0)


async def test_a_running_inbox_applies_what_another_daemon_left(
    inbox: Inbox, database: Database, indexer: Indexer, story: Story
) -> None:
    await inbox.accept(delivery(0))
    worker = asyncio.create_task(Inbox(database, indexer, Transcript(story), SystemClock(), as_told()).run())
    async with asyncio.timeout(120):
        while await depth(database) != (0, 0):  # noqa: ASYNC110  # only the database tells
            await asyncio.sleep(0)
    worker.cancel()


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(120):
        while not await reached():  # noqa: ASYNC110  # only the database tells
            await asyncio.sleep(0)


async def more_applied_than(database: Database, count: int) -> bool:
    return await applied(database) > count


async def nothing_waits(database: Database) -> bool:
    return await depth(database) == (0, 0)


class Senders:
    """Sixty-four senders, each of which delivers again as soon as it is answered."""

    def __init__(self, inbox: Inbox, positions: int) -> None:
        self.answered = 0
        self._progress = asyncio.Condition()
        self._tasks = [asyncio.create_task(self._deliver(inbox, positions)) for _ in range(64)]

    async def answer(self, more: int) -> None:
        """Wait until that many more of their deliveries are accepted."""
        goal = self.answered + more
        async with self._progress:
            await self._progress.wait_for(lambda: self.answered >= goal)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _deliver(self, inbox: Inbox, positions: int) -> None:
        while True:
            await inbox.accept(delivery(self.answered % positions))
            async with self._progress:
                self.answered += 1
                self._progress.notify_all()


async def test_a_burst_that_never_ends_does_not_stop_applying(
    inbox: Inbox, database: Database, story: Story
) -> None:
    worker = asyncio.create_task(inbox.run())
    senders = Senders(inbox, len(story.transactions))
    await until(lambda: more_applied_than(database, 499))
    await senders.stop()
    worker.cancel()


async def test_in_a_burst_applying_pauses_after_a_long_batch(
    database: Database, indexer: Indexer, story: Story
) -> None:
    inbox = Inbox(database, indexer, Transcript(story), HourlyClock(), as_told(), calm_seconds=600.0)
    senders = Senders(inbox, len(story.transactions))
    await senders.answer(64)
    worker = asyncio.create_task(inbox.run())
    await until(lambda: more_applied_than(database, 0))
    once = await applied(database)
    await senders.answer(1_000)
    assert await applied(database) == once
    await senders.stop()
    worker.cancel()


async def test_a_pause_in_a_burst_ends_with_the_burst(
    database: Database, indexer: Indexer, story: Story
) -> None:
    inbox = Inbox(database, indexer, Transcript(story), HourlyClock(), as_told(), calm_seconds=0.05)
    senders = Senders(inbox, len(story.transactions))
    await senders.answer(64)
    worker = asyncio.create_task(inbox.run())
    await until(lambda: more_applied_than(database, 0))
    await senders.stop()
    await until(lambda: nothing_waits(database))
    worker.cancel()


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[1]", b'"text"', b"[" * 100_000, b"[" + b"{}," * 1000 + b"{}]"]
)
async def test_what_is_no_delivery_is_refused(inbox: Inbox, body: bytes) -> None:
    with pytest.raises(MalformedDelivery):
        await inbox.accept(body)


async def test_a_delivery_that_cannot_be_committed_is_not_acknowledged(
    indexer: Indexer, story: Story, tmp_path: Path
) -> None:
    async with EmbeddedPostgres(tmp_path / "postgres", Durability.EPHEMERAL) as server:
        await migrate(server.dsn)
        database = await Database.connect(patient_database(server.dsn))
    inbox = Inbox(database, indexer, Transcript(story), SystemClock(), as_told())
    with pytest.raises(DatabaseUnavailable):
        await inbox.accept(delivery(0))


async def test_a_failing_delivery_is_tried_again_later_and_then_parked(
    database: Database, indexer: Indexer, story: Story
) -> None:
    clock = SettableClock()
    inbox = Inbox(database, indexer, Transcript(story), clock, as_told())
    creation = story.transactions[0]
    fields = {name: getattr(creation, name) for name in ChainTransaction.__struct_fields__}
    story.transactions[0] = ChainTransaction(**{**fields, "signature": "not a signature"})
    await inbox.accept(delivery(0))
    clock.now = SystemClock().time()
    for _ in range(5):
        assert await depth(database) == (1, 0)
        clock.now += timedelta(hours=1).total_seconds()
        assert await inbox.apply_batch() == 1
    assert await depth(database) == (0, 1)


class HourlyClock(SystemClock):
    """A clock that advances by an hour at each reading."""

    def __init__(self) -> None:
        self._hours = 0

    def monotonic(self) -> float:
        self._hours += 1
        return self._hours * 3_600.0


class SettableClock(SystemClock):
    now = 0.0

    def time(self) -> float:
        return self.now


async def test_a_batch_ends_once_it_holds_enough_transactions(inbox: Inbox, database: Database) -> None:
    for body in (delivery(0), delivery(1, 2), delivery(3)):
        await inbox.accept(body)
    async with database.service() as connection:
        now = await connection.fetchval("select now()")
        taken = await deliveries.take(connection, now, limit=9, enough_transactions=2)
    assert [one.body for one in taken] == [delivery(0), delivery(1, 2)]

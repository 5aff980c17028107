"""The id of a request is found in the log of whichever daemon applies what it brought, down to frames."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import structlog
from redis.asyncio import Redis

from tests.integration.indexer.story import PROGRAM, Story, present
from tests.integration.indexer.test_inbox import Transcript, delivery
from zmartd import log
from zmartd.chain.pdas import Pdas
from zmartd.clock import SystemClock
from zmartd.indexer.apply import MAX_SIGNATURES_LOGGED, Indexer
from zmartd.indexer.inbox import Inbox
from zmartd.indexer.plausibility import Plausibility
from zmartd.realtime.bus import Bus
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store.postgres.database import Database

Lines = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Gives the lines of the log with an action."""
    stream = io.StringIO()
    log.configure("debug", "json", stream)

    def of(action: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in stream.getvalue().splitlines()]
        return [line for line in found if line["action"] == action]

    yield of
    structlog.reset_defaults()


@pytest.fixture
def story() -> Story:
    story = Story(seed=20)
    story.create()
    story.open_for_trading()
    story.trade(30)
    return story


@pytest.fixture
def inboxes(database: Database, redis: Redis, story: Story) -> tuple[Inbox, Inbox]:
    """Those of two daemons."""
    clock = SystemClock()
    indexer = Indexer(database, StreamPublisher(Bus(redis, clock)), Pdas(PROGRAM))
    one, other = (
        Inbox(database, indexer, Transcript(story), clock, Plausibility(present, clock)) for _ in range(2)
    )
    return one, other


async def accept(inbox: Inbox, request_id: str | None, *positions: int) -> None:
    """What a request does that brings a delivery."""
    if request_id is not None:
        log.CURRENT_REQUEST_ID.set(request_id)
    await inbox.accept(delivery(*positions))


async def test_the_ids_of_requests_are_in_the_lines_of_the_daemon_that_applies_their_deliveries(
    inboxes: tuple[Inbox, Inbox], database: Database, story: Story, lines: Lines
) -> None:
    accepting, applying = inboxes
    await asyncio.gather(
        *(asyncio.create_task(accept(accepting, f"request-{number}", number)) for number in range(4)),
        asyncio.create_task(accept(accepting, None, 4)),
    )
    while await applying.apply_batch():
        pass
    published = lines("streams.published")
    assert sorted(trace for line in published for trace in line["request_ids"]) == [
        f"request-{number}" for number in range(4)
    ]
    signatures = [signature for line in published for signature in line["signatures"]]
    assert sorted(signatures) == sorted(tx.signature for tx in story.transactions[:5])
    async with database.service() as connection:
        rows = await connection.fetch(
            "select name, message.seq from stream_messages as message join streams on streams.id = stream_id"
        )
    told = {(name, seq) for line in published for name, seqs in line["streams"].items() for seq in seqs}
    assert told == {(row["name"], row["seq"]) for row in rows}


async def test_of_many_transactions_a_line_names_a_few_and_says_how_many_there_are(
    inboxes: tuple[Inbox, Inbox], story: Story, lines: Lines
) -> None:
    await accept(inboxes[0], "request-1", *range(len(story.transactions)))
    while await inboxes[1].apply_batch():
        pass
    (line,) = lines("streams.published")
    assert line["transactions"] == len(story.transactions) > MAX_SIGNATURES_LOGGED
    assert len(line["signatures"]) == MAX_SIGNATURES_LOGGED


async def test_what_is_logged_while_several_deliveries_are_committed_names_no_one_of_their_requests(
    inboxes: tuple[Inbox, Inbox], lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = inboxes[0]
    committed = inbox._commit._commit

    async def noisy(deliveries: list[Any]) -> None:
        log.get_logger("test").info("committed")
        await committed(deliveries)

    monkeypatch.setattr(inbox._commit, "_commit", noisy)
    await accept(inbox, "request-1", 0)
    assert [line.get("request_id") for line in lines("committed")] == [None]


async def test_a_delivery_keeps_the_id_of_its_request(
    inboxes: tuple[Inbox, Inbox], database: Database
) -> None:
    await accept(inboxes[0], "request-1", 0)
    async with database.service() as connection:
        (row,) = await connection.fetch("select body, request_id from webhook_inbox")
    assert (msgspec.json.decode(row["body"]), row["request_id"]) == ([{"position": 0}], "request-1")

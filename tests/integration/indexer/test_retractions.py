"""What was announced and is not on the chain is taken back; what became final is said to be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import msgspec
import pytest
from redis.asyncio import Redis

from tests.integration.indexer.story import PROGRAM, Story
from zmartd.chain.events import SharesBought
from zmartd.chain.pdas import Pdas
from zmartd.chain.transactions import ChainTransaction
from zmartd.clock import SystemClock
from zmartd.http.trading.schemas import TradedAmounts, trade_body
from zmartd.indexer.apply import Indexer
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.events.rows import event_row
from zmartd.indexer.rebuild.event_diff import EventDiff
from zmartd.market.ids import trade_id
from zmartd.realtime.bus import Bus
from zmartd.realtime.frames import message_frame
from zmartd.realtime.messages import (
    Gap,
    MarketUpdate,
    Message,
    PriceUpdate,
    Promotion,
    Retraction,
    TradeExecuted,
    VoteCast,
)
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store import trades
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import ANYBODY
from zmartd.store.trades import TradeFilter

PDAS = Pdas(PROGRAM)


@pytest.fixture
async def bus(redis_url: str) -> AsyncIterator[Bus]:
    redis = Redis.from_url(redis_url)
    yield Bus(redis, SystemClock())
    await redis.aclose()


@pytest.fixture
def published(bus: Bus) -> list[Message]:
    """What the indexer has published."""
    messages: list[Message] = []

    def take(item: Message | Gap) -> None:
        if isinstance(item, Message):
            messages.append(item)

    bus.add_observer(take)
    return messages


@pytest.fixture
async def indexer(database: Database, bus: Bus) -> Indexer:
    return Indexer(database, StreamPublisher(bus), PDAS)


def open_market(seed: int) -> Story:
    story = Story(seed)
    story.create()
    story.open_for_trading()
    return story


def in_slots(transactions: Sequence[ChainTransaction]) -> list[TransactionInSlot]:
    return [TransactionInSlot(tx.slot, tx.signature) for tx in transactions]


def trades_of(messages: Sequence[Message]) -> list[str]:
    return [one.data.trade_id for one in messages if isinstance(one.data, TradeExecuted)]


def retracted(messages: Sequence[Message]) -> list[str]:
    return [one.data.record_id for one in messages if isinstance(one.data, Retraction)]


async def test_a_trade_that_is_rolled_back_is_retracted_by_the_id_of_its_announcement(
    indexer: Indexer,
) -> None:
    story = open_market(1)
    story.trade(3)
    announced = (await indexer.apply(story.transactions)).messages
    lost = story.transactions[-1]
    first, *_, price, state = (await indexer.roll_back(in_slots([lost]))).messages
    assert first.data == Retraction(kind="trade", record_id=trade_id(lost.signature, 0), slot=lost.slot)
    assert trade_id(lost.signature, 0) in trades_of(announced)
    assert (type(price.data), type(state.data)) == (PriceUpdate, MarketUpdate)
    assert [one.seq for one in (first, price, state)] == [announced[-1].seq + more for more in (1, 2, 3)]


async def test_every_trade_of_a_transaction_is_retracted_and_nothing_else(indexer: Indexer) -> None:
    story = open_market(2)
    story.tell(story._buy(), story._buy(), story._buy())
    await indexer.apply(story.transactions)
    lost = story.transactions[-1]
    found = retracted((await indexer.roll_back(in_slots([lost]))).messages)
    assert found == [trade_id(lost.signature, ordinal) for ordinal in range(3)]
    assert retracted((await indexer.roll_back(in_slots([lost]))).messages) == []


async def test_a_trade_that_lands_again_is_retracted_and_then_announced_under_the_same_id(
    indexer: Indexer, published: list[Message]
) -> None:
    story = open_market(3)
    story.tell(story._buy())
    await indexer.apply(story.transactions)
    lost = story.transactions[-1]
    again = msgspec.structs.replace(lost, slot=lost.slot + 9)
    published.clear()
    await indexer.roll_back(in_slots([lost]), [again])
    about = [one for one in published if isinstance(one.data, Retraction | TradeExecuted)]
    gone, back = about
    assert (retracted([gone]), trades_of([back])) == ([trade_id(lost.signature, 0)],) * 2
    assert isinstance(gone.data, Retraction)
    assert isinstance(back.data, TradeExecuted)
    assert (gone.data.slot, back.data.slot) == (lost.slot, again.slot)
    assert back.seq > gone.seq


async def test_a_vote_on_the_chain_is_retracted_by_its_id_which_tells_nothing_else(indexer: Indexer) -> None:
    story = open_market(4)
    announced = (await indexer.apply(story.transactions)).messages
    votes = [one.data.vote_id for one in announced if isinstance(one.data, VoteCast)]
    assert len(set(votes)) == len(story.traders)
    lost = story.transactions[1]
    (found,) = retracted((await indexer.roll_back(in_slots([lost]))).messages)
    assert found in votes
    assert not any(part in found for part in (lost.signature, str(story.traders[0])))


async def test_a_market_whose_creation_is_gone_is_deleted_until_it_is_created_again(indexer: Indexer) -> None:
    story = Story(5)
    story.create()
    created = (await indexer.apply(story.transactions)).messages[-1]
    deleted = (await indexer.roll_back(in_slots(story.transactions))).messages[-1]
    again = (await indexer.apply(story.transactions)).messages[-1]
    actions = [one.data.action for one in (created, deleted, again) if isinstance(one.data, MarketUpdate)]
    assert actions == ["created", "deleted", "created"]
    assert created.seq < deleted.seq < again.seq


async def test_a_trade_that_a_repair_corrects_is_retracted_and_announced_as_it_is(
    indexer: Indexer, published: list[Message]
) -> None:
    story = open_market(6)
    story.tell(story._buy())
    true = story.transactions[-1]
    (record,) = true.events
    assert isinstance(record.event, SharesBought)
    lie = msgspec.structs.replace(
        record, event=msgspec.structs.replace(record.event, cost=record.event.cost + 1)
    )
    await indexer.apply([*story.transactions[:-1], msgspec.structs.replace(true, events=(lie,))])
    published.clear()
    diff = EventDiff(((true.signature, 0),), (event_row(true, record, PDAS),))
    await indexer.replace_events(
        diff, {story.market_id.hex(): str(story.market)}, {}, datetime.fromtimestamp(story.now, UTC)
    )
    kinds = [type(one.data) for one in published]
    assert kinds == [Retraction, TradeExecuted, PriceUpdate, MarketUpdate]
    assert retracted(published) == trades_of(published) == [trade_id(true.signature, 0)]
    assert isinstance(published[1].data, TradeExecuted)
    assert published[1].data.cost_lamports == record.event.cost


async def test_what_a_trade_came_to_is_announced_as_the_lists_have_it(
    indexer: Indexer, published: list[Message], database: Database
) -> None:
    """Many at once, one alone, one without the one before it, that one, after a fork, and while the market's
    creation is not known."""
    story = open_market(11)
    for number in range(10):
        story.tell((story._sell() if number % 3 == 2 else None) or story._buy(), slots=number % 2)
    told = [
        msgspec.structs.replace(one, index_in_block=index) for index, one in enumerate(story.transactions)
    ]
    opening, deals = told[:-10], told[-10:]
    orphan = open_market(12)
    orphan.tell(orphan._buy())
    for lost, applied in (
        ([], [*opening, *deals[:6]]),
        ([], [deals[6]]),
        ([], [deals[8]]),
        ([], [deals[7]]),
        (deals[3:5], [deals[3], deals[9], deals[4]]),
        ([], orphan.transactions[-1:]),
    ):
        published.clear()
        if lost:
            await indexer.roll_back(in_slots(lost), applied)
        else:
            await indexer.apply(applied)
        announced = await assert_as_listed(published, database)
        assert announced == {one.signature for one in applied if one not in opening}


async def assert_as_listed(published: Sequence[Message], database: Database) -> set[str]:
    """Trades were told as the REST API lists them. Returns their signatures."""
    frames_by_id = {
        one.data.trade_id: msgspec.to_builtins(message_frame(one, one.market_id, str).data)
        for one in published
        if isinstance(one.data, TradeExecuted)
    }
    async with database.reader(ANYBODY) as connection:
        page = await trades.page(connection, ANYBODY, TradeFilter(), 100)
    listed = {body.id: msgspec.to_builtins(body) for body in map(trade_body, page.rows)}
    for key, frame in frames_by_id.items():
        for name in TradedAmounts.__struct_fields__:
            assert frame[name] == listed[key][name], (name, frame)
    return {frame["signature"] for frame in frames_by_id.values()}


async def test_beside_a_trade_that_a_fork_has_taken_another_tells_its_own_price(
    indexer: Indexer, database: Database
) -> None:
    story = open_market(8)
    story.tell(story._buy())
    before = (story.q.copy(), story.liquidity, story.fees.copy())
    story.tell(story._buy())
    taken = story.transactions.pop()
    story.q, story.liquidity, story.fees = before
    story.tell(story._buy())
    await indexer.apply([*story.transactions[:-1], taken])

    applied = await indexer.apply(story.transactions[-1:])

    trade, price = (message.data for message in applied.messages[:2])
    assert isinstance(trade, TradeExecuted)
    assert isinstance(price, PriceUpdate)
    assert trade.price_yes == story._price() != price.price_yes
    assert abs(trade.amount_lamports + trade.fees.total - trade.cost_lamports) <= 1
    told = await indexer.roll_back(in_slots([taken]))
    assert [one.data.price_yes for one in told.messages if isinstance(one.data, PriceUpdate)] == [
        story._price()
    ]
    async with database.service() as connection:
        (held,) = await connection.fetch(
            "select current_liquidity, accumulated_protocol_fees, lp_fees_earned from markets"
        )
        assert tuple(held) == (story.liquidity, story.fees[0], story.fees[2])
        assert await connection.fetchval("select bool_and(exact) from trades")


async def test_messages_have_the_commitment_of_what_they_tell(
    indexer: Indexer, published: list[Message]
) -> None:
    story = open_market(7)
    await indexer.apply(story.transactions, "finalized")
    votes = [one for one in published if isinstance(one.data, VoteCast)]
    assert {one.commitment for one in votes} == {"finalized"}
    published.clear()
    story.tell(story._buy())
    await indexer.apply(story.transactions[-1:])
    assert {one.commitment for one in published} == {"confirmed"}
    await indexer.roll_back(in_slots(story.transactions[-1:]))
    assert {one.commitment for one in published} == {"confirmed"}
    published.clear()
    # What is recorded as final is told to be, in a market of which something may not be.
    last = story.transactions[-1]
    row = event_row(last, last.events[0], PDAS)
    await indexer.replace_events(EventDiff(to_record=(row,)), {}, {}, row.occurred_at, "finalized")
    told = [(type(one.data), one.commitment) for one in published]
    assert told == [(TradeExecuted, "finalized"), (PriceUpdate, "confirmed"), (MarketUpdate, "confirmed")]


async def test_what_becomes_final_is_told_by_its_ids_once(indexer: Indexer, published: list[Message]) -> None:
    story = open_market(8)
    story.tell(story._buy(), story._buy())
    await indexer.apply(story.transactions)
    announced = published.copy()
    published.clear()
    last = story.transactions[-1]

    await indexer.promote(in_slots(story.transactions), story.transactions)
    (message,) = published
    assert (message.seq, message.commitment) == (announced[-1].seq + 1, "finalized")
    assert message.data == Promotion(
        trades=(trade_id(last.signature, 0), trade_id(last.signature, 1)),
        votes=tuple(str(one.data.vote_id) for one in announced if isinstance(one.data, VoteCast)),
    )

    await indexer.promote_markets(last.slot)
    assert published[1].data == Promotion(market=True)
    await indexer.promote(in_slots(story.transactions), story.transactions)
    await indexer.promote_markets(last.slot)
    assert len(published) == 2


async def test_what_differs_from_the_chain_is_not_told_to_be_final(
    indexer: Indexer, published: list[Message]
) -> None:
    story = open_market(9)
    story.tell(story._buy())
    await indexer.apply(story.transactions)
    published.clear()
    last = story.transactions[-1]
    report = await indexer.promote(in_slots([last]), [msgspec.structs.replace(last, events=())])
    assert (report.promoted, set(report.differing), published) == (0, {last.signature}, [])

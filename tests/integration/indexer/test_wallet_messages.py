"""What each wallet alone is told of its trades, claims and positions, with the change of them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from redis.asyncio import Redis

from tests.integration.indexer.story import PROGRAM, Story
from zmartd import config
from zmartd.chain.events import SharesBought, SharesSold, SharesTransferred
from zmartd.chain.pdas import Pdas
from zmartd.chain.signed_transactions import Fate, SignedTransaction
from zmartd.clock import SystemClock
from zmartd.indexer.apply import Indexer
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.market.ids import trade_id
from zmartd.realtime.bus import Bus
from zmartd.realtime.messages import (
    OwnClaim,
    OwnFill,
    OwnPosition,
    OwnPromotion,
    OwnRetraction,
    OwnTransaction,
    WalletChange,
    WalletMessage,
    decode_message,
)
from zmartd.realtime.publisher import StreamPublisher
from zmartd.store.postgres.database import Database
from zmartd.transactions.outbox import DatabaseOutbox

PDAS = Pdas(PROGRAM)
FAILED, EXPIRED, OWN, AGAIN = ("3" * 86 + digit for digit in "1234")
_MESSAGES = """
select stream.name, message.seq, message.body
  from stream_messages as message join streams as stream on stream.id = message.stream_id
 where stream.name like 'user:%' order by stream.name, message.seq
"""
_POSITIONS = """
select market_id, user_wallet, shares_yes, shares_no, total_invested, total_returned, claimed_amount,
       trades_count from user_positions
"""


@pytest.fixture
async def publisher(redis_url: str) -> StreamPublisher:
    return StreamPublisher(Bus(Redis.from_url(redis_url), SystemClock()))


@pytest.fixture
async def indexer(database: Database, publisher: StreamPublisher) -> Indexer:
    return Indexer(database, publisher, PDAS)


def open_market(seed: int) -> Story:
    story = Story(seed)
    story.create()
    story.open_for_trading()
    return story


async def told(database: Database) -> list[WalletMessage]:
    """All messages for wallets. Each stream has them from 1 on without a gap."""
    messages: list[WalletMessage] = []
    seqs: dict[str, int] = {}
    async with database.service_reader() as reader:
        for row in await reader.fetch(_MESSAGES):
            seqs[row["name"]] = seqs.get(row["name"], 0) + 1
            assert row["seq"] == seqs[row["name"]]
            message = decode_message(row["name"], row["body"])
            assert isinstance(message, WalletMessage)
            messages.append(message)
    return messages


def of(messages: Sequence[WalletMessage], kind: type[WalletChange]) -> list[WalletMessage]:
    return [one for one in messages if isinstance(one.data, kind)]


async def assert_newest_positions_are_those_of_the_index(database: Database) -> None:
    """Whoever applies what its wallet is told has the positions of the index."""
    newest = {
        (one.data.market_id, one.wallet): one.data.position
        for one in await told(database)
        if isinstance(one.data, OwnFill | OwnClaim | OwnPosition)
    }
    async with database.service_reader() as reader:
        rows = await reader.fetch(_POSITIONS)
    stored = {(row["market_id"], row["user_wallet"]): tuple(map(int, list(row.values())[2:])) for row in rows}
    assert {
        holder: (
            position.shares_yes,
            position.shares_no,
            position.invested_lamports,
            position.returned_lamports,
            position.claimed_lamports,
            position.trades_count,
        )
        for holder, position in newest.items()
        if holder in stored or position.trades_count
    } == stored


async def test_each_wallet_is_told_of_its_trades_with_their_fees_and_its_position_after_them(
    indexer: Indexer, database: Database
) -> None:
    story = open_market(1)
    story.trade(12)
    await indexer.apply(story.transactions)
    events = [
        (tx.signature, record.event)
        for tx in story.transactions
        for record in tx.events
        if isinstance(record.event, SharesBought | SharesSold)
    ]
    fills = of(await told(database), OwnFill)
    assert {(one.wallet, one.data.trade.signature) for one in fills if isinstance(one.data, OwnFill)} == {
        (str(event.user), signature) for signature, event in events
    }
    assert len(fills) == len(events)
    for one in fills:
        assert isinstance(one.data, OwnFill)
        trade = one.data.trade
        assert trade.user_wallet == one.wallet
        sign = 1 if trade.trade_type == "buy" else -1
        assert trade.cost_lamports == trade.amount_lamports + sign * trade.fees.total
    await assert_newest_positions_are_those_of_the_index(database)
    before = len(await told(database))
    await indexer.apply(story.transactions)
    assert len(await told(database)) == before, "the same again is told once"


async def test_a_claim_is_told_with_the_position_after_it(indexer: Indexer, database: Database) -> None:
    story = open_market(2)
    story.trade(8)
    story.resolve(True)
    story.finalize(None, disputed=False)
    story.claim(True)
    await indexer.apply(story.transactions)
    claims = of(await told(database), OwnClaim)
    assert claims
    for one in claims:
        assert isinstance(one.data, OwnClaim)
        assert one.data.position.has_claimed
        assert one.data.position.claimed_lamports == one.data.amount_lamports
    await assert_newest_positions_are_those_of_the_index(database)


async def test_both_sides_of_a_transfer_are_told_their_positions(
    indexer: Indexer, database: Database
) -> None:
    story = open_market(3)
    buy = story._buy()
    assert isinstance(buy, SharesBought)
    story.tell(buy)
    other = story.wallet()
    story.tell(
        SharesTransferred(
            from_=buy.user,
            to=other,
            market=story.market,
            outcome=buy.outcome,
            shares=1,
        )
    )
    await indexer.apply(story.transactions)
    moved = of(await told(database), OwnPosition)
    assert {one.wallet for one in moved} == {str(other)}, "the other's fill has the position after both"
    await assert_newest_positions_are_those_of_the_index(database)


async def test_a_trade_that_a_fork_takes_is_retracted_for_its_wallet_and_told_when_it_lands_again(
    indexer: Indexer, database: Database
) -> None:
    story = open_market(4)
    story.trade(3)
    await indexer.apply(story.transactions)
    lost = story.transactions[-1]
    event = lost.events[0].event
    assert isinstance(event, SharesBought | SharesSold)
    before = len(await told(database))
    await indexer.roll_back([TransactionInSlot(lost.slot, lost.signature)])
    retracted = of(await told(database), OwnRetraction)
    (one,) = retracted
    assert isinstance(one.data, OwnRetraction)
    assert (one.wallet, one.data.kind, one.data.record_id) == (
        str(event.user),
        "trade",
        trade_id(lost.signature, 0),
    )
    assert len(await told(database)) == before + 2
    await assert_newest_positions_are_those_of_the_index(database)
    await indexer.apply([lost])
    own = [one for one in await told(database) if one.wallet == str(event.user)]
    assert isinstance(own[-1].data, OwnFill)
    assert own[-1].data.trade.signature == lost.signature
    await assert_newest_positions_are_those_of_the_index(database)


async def test_a_wallet_is_told_the_fate_of_what_was_relayed_for_it(
    indexer: Indexer, database: Database, publisher: StreamPublisher
) -> None:
    story = open_market(5)
    story.trade(1)
    landed = story.transactions[-1]
    wallet = str(story.transactions[-1].events[0].event.user)  # type: ignore[union-attr]
    outbox = DatabaseOutbox(database, config.TransactionSettings(), publisher)
    for signature in (landed.signature, FAILED, EXPIRED):
        for _ in range(2):
            await outbox.record(SignedTransaction(signature, b"wire", 9, "relay", wallet))
    await outbox.record(SignedTransaction(OWN, b"wire", 9, "finalize_market"))
    await indexer.apply(story.transactions)
    await outbox.record_fate(landed.signature, Fate.LANDED, landed.slot, None)
    for signature, fate in ((FAILED, Fate.FAILED), (EXPIRED, Fate.EXPIRED), (OWN, Fate.EXPIRED)):
        for _ in range(2):
            await outbox.record_fate(signature, fate, None, "Broke" if fate is Fate.FAILED else None)
    await indexer.promote([TransactionInSlot(landed.slot, landed.signature)], [landed])
    fates = [one.data for one in of(await told(database), OwnTransaction)]
    assert [msgspec.to_builtins(one) for one in fates if isinstance(one, OwnTransaction)] == [
        {"type": "transaction", "signature": signature, "status": status, "slot": slot, "error": error}
        for signature, status, slot, error in (
            (landed.signature, "sent", None, None),
            (FAILED, "sent", None, None),
            (EXPIRED, "sent", None, None),
            (landed.signature, "confirmed", landed.slot, None),
            (FAILED, "failed", None, "Broke"),
            (EXPIRED, "expired", None, None),
            (landed.signature, "finalized", landed.slot, None),
        )
    ]
    (promotion,) = of(await told(database), OwnPromotion)
    assert promotion.data == OwnPromotion(trades=(trade_id(landed.signature, 0),))


async def test_what_is_sent_again_after_a_fork_is_told_again(
    database: Database, publisher: StreamPublisher
) -> None:
    outbox = DatabaseOutbox(database, config.TransactionSettings(), publisher)
    wallet = str(Story(6).wallet())
    await outbox.record(SignedTransaction(AGAIN, b"wire", 9, "relay", wallet))
    await outbox.record_fate(AGAIN, Fate.LANDED, 5, None)
    await outbox.reopen(AGAIN)
    statuses = [one.data.status for one in await told(database) if isinstance(one.data, OwnTransaction)]
    assert statuses == ["sent", "confirmed", "sent"]

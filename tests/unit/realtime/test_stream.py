from __future__ import annotations

from tests.unit.realtime.market_messages import CHAIN_VOTE, EPOCH, MARKET, TRADE, market, message, snapshot
from zmartd.realtime.messages import market_stream
from zmartd.realtime.stream import MAX_EARLY, MAX_RECENT, Stream
from zmartd.store.streams import StreamPosition


def stream(seq: int = 0) -> Stream:
    return Stream(market_stream(MARKET), StreamPosition(EPOCH, seq))


def snapshot_of(followed: Stream) -> int | None:
    """The number up to which the market's row is known."""
    return None if followed.snapshot is None else followed.snapshot.position.seq


def test_messages_that_came_early_take_no_room_from_those_that_a_read_brings_in_order() -> None:
    followed = stream()
    early = range(1_001, 1_001 + MAX_EARLY + 5)
    assert followed.receive(message(CHAIN_VOTE, seq) for seq in early) == []
    told = followed.receive(message(CHAIN_VOTE, seq) for seq in range(1, 1_001))
    assert [one.seq for one in told] == list(range(1, 1_001 + MAX_EARLY))
    assert followed.behind
    told = followed.receive(message(CHAIN_VOTE, seq) for seq in range(followed.seq + 1, early.stop))
    assert [one.seq for one in told] == list(early[-5:])
    assert not followed.behind


def test_a_snapshot_that_the_messages_in_memory_do_not_reach_is_dropped_and_read_again() -> None:
    """A change of more messages than are kept: its market comes last."""
    followed = stream()
    assert followed.adopt(snapshot(0))
    for seq in range(1, MAX_RECENT + 1):
        followed.receive([message(TRADE, seq)])
    assert snapshot_of(followed) == 0
    followed.receive([message(TRADE, MAX_RECENT + 1)])
    assert snapshot_of(followed) is None
    assert not followed.adopt(snapshot(0)), "it was read before the change"
    end = MAX_RECENT + 2
    assert followed.adopt(snapshot(end))
    followed.receive([message(market(), end)])
    assert snapshot_of(followed) == end

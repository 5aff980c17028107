"""Every order in which commits, lost and late messages, reads, crashes and clients can meet, up to a bound.

The states are searched breadth first. The stream is the daemon's own, and so is the group of the clients with
one filter; the database, the bus and the clients are as small as they can be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar, cast

import pytest
from msgspec import Struct

from tests.unit.realtime.market_messages import (
    AT,
    CHAIN_VOTE,
    EPOCH,
    MARKET,
    TRADE,
    TRADER,
    market,
    message,
)
from zmartd.realtime.client import Client
from zmartd.realtime.filters import Filter
from zmartd.realtime.groups import Group, passing
from zmartd.realtime.messages import (
    AnyMessage,
    MarketUpdate,
    OwnTransaction,
    Snapshot,
    WalletMessage,
    market_stream,
    wallet_stream,
)
from zmartd.realtime.stream import MAX_EARLY, MAX_RECENT, Stream
from zmartd.store.streams import StreamPosition

COMMITS: Final = 2
IN_FLIGHT: Final = 5
TOLD: Final = 3
"""Messages of one commit."""
VOTES: Final = Filter(kinds=frozenset({"vote"}))
"""Lets the second message of each commit pass."""
CLIENT, OTHER = (cast(Client, object()) for _ in range(2))
"""The client, and one that comes and goes under the same filter and never resumes."""


class Room(Struct, frozen=True):
    """How many messages a stream keeps, whether it is a wallet's, and what of it clients get."""

    early: int = MAX_EARLY
    recent: int = MAX_RECENT
    private: bool = False
    filter: Filter | None = None


def committed(number: int) -> tuple[AnyMessage, ...]:
    """What the commit with this number tells: a trade, a vote, and the market after them."""
    first, update = TOLD * (number - 1) + 1, market(shares_yes=number)
    return message(TRADE, first), message(CHAIN_VOTE, first + 1), message(update, first + 2)


def committed_for_a_wallet(number: int) -> tuple[AnyMessage, ...]:
    """What the commit with this number tells a wallet."""
    first = TOLD * (number - 1) + 1
    sent = OwnTransaction(signature="s", status="sent")
    positions = (StreamPosition(EPOCH, seq) for seq in range(first, first + TOLD))
    return tuple(WalletMessage(TRADER, sent, AT, None, position) for position in positions)


LOGS: Final = {
    private: tuple(one for number in range(1, COMMITS + 1) for one in commit(number))
    for private, commit in ((False, committed), (True, committed_for_a_wallet))
}


def read_market(commits: int) -> Snapshot:
    """The market's row after so many commits."""
    return Snapshot(
        MARKET, StreamPosition(EPOCH, TOLD * commits), market(shares_yes=commits), AT, "confirmed"
    )


Slotted = TypeVar("Slotted", Stream, Group)


def shallow(one: Slotted) -> Slotted:
    """What `copy.copy` gives, in a third of the time: there are hundreds of thousands."""
    new = object.__new__(type(one))
    for name in one.__slots__:
        setattr(new, name, getattr(one, name))
    return new


class State:
    """A moment of the system. `seen` is how far the client has come, None before its first answer.

    `paused`: it is subscribed to its wallet's stream, and not known to be signed in.
    """

    def __init__(self, room: Room) -> None:
        self.room = room
        self.commits = 0
        self.in_flight: tuple[int, ...] = ()
        self.stream: Stream | None = None
        self.subscribed = False
        self.paused = False
        self.seen: int | None = None
        self.group: Group | None = None
        """Those that get messages, if there are any."""
        self.others: int | None = None
        """How far the other client has come, None while it is not subscribed."""
        self.crashes = 0

    @property
    def key(self) -> object:
        stream = self.stream
        inside = None
        if stream is not None:
            snapshot = stream.snapshot
            early = tuple(sorted(stream._early))
            inside = (stream.seq, stream.behind, early, stream.recent, snapshot and snapshot.position.seq)
        client = self.subscribed, self.paused, self.seen, self.others
        group = self.group and tuple(self.group._last.items())
        return self.commits, self.in_flight, inside, client, group, self.crashes

    @property
    def log(self) -> tuple[AnyMessage, ...]:
        """All messages that there will be."""
        return LOGS[self.room.private]

    def copied(self) -> State:
        """A state that changes by itself. Messages do not change, so they are shared."""
        new = object.__new__(State)
        new.__dict__.update(self.__dict__)
        if self.stream is not None:
            new.stream = shallow(self.stream)
            new.stream._early, new.stream._recent = self.stream._early.copy(), self.stream._recent.copy()
        if self.group is not None:
            new.group = shallow(self.group)
            new.group.clients, new.group._last = self.group.clients.copy(), self.group._last.copy()
        return new


class Step(Struct, frozen=True):
    name: str
    state: State


def steps(state: State) -> Iterator[Step]:
    """All that can happen next."""

    def after(name: str) -> tuple[str, State]:
        return name, state.copied()

    if state.commits < COMMITS:
        for published in (True, False):
            name, new = after("commit and publish" if published else "commit and die")
            new.commits += 1
            if published:
                new.in_flight += tuple(range(TOLD * new.commits - TOLD + 1, TOLD * new.commits + 1))
            if len(new.in_flight) <= IN_FLIGHT:
                yield Step(name, new)
    for place, seq in enumerate(state.in_flight):
        rest = state.in_flight[:place] + state.in_flight[place + 1 :]
        name, new = after(f"lose {seq}")
        new.in_flight = rest
        yield Step(name, new)
        name, new = after(f"deliver {seq}")
        new.in_flight = rest
        if new.stream is not None:
            told(new, new.stream, [new.log[seq - 1]])
        yield Step(name, new)
    if state.stream is None:
        name, new = after("follow")
        room, snapshot = state.room, read_market(new.commits)
        stream = wallet_stream(TRADER) if room.private else market_stream(MARKET)
        new.stream = Stream(stream, snapshot.position, max_early=room.early, max_recent=room.recent)
        assert room.private or new.stream.adopt(snapshot)
        yield Step(name, new)
        return
    name, new = after("look and fetch")
    look(new)
    yield Step(name, new)
    if not state.room.private:
        name, new = after("read the market again")
        assert new.stream is not None
        new.stream.adopt(read_market(new.commits))
        if new.stream.behind:
            look(new)
        yield Step(name, new)
    if state.crashes < 1:
        name, new = after("the daemon is killed")
        new.stream, new.subscribed, new.paused, new.crashes = None, False, False, 1
        new.group = new.others = None
        yield Step(name, new)
    if state.room.filter is not None:
        yield from steps_of_filters(state)
    if state.subscribed:
        name, new = after("disconnect")
        new.subscribed = new.paused = False
        leave(new, CLIENT)
        yield Step(name, new)
        if state.room.private:
            name, new = after(
                "it is known whether the session goes on" if state.paused else "it is not known"
            )
            new.paused = not state.paused
            if new.paused:
                leave(new, CLIENT)
            if new.paused or subscribe(new, new.seen):
                yield Step(name, new)
    else:
        name, new = after("subscribe")
        if subscribe(new, None):
            yield Step(name, new)
        if state.seen is not None:
            name, new = after("resume")
            if subscribe(new, state.seen):
                yield Step(name, new)


def look(state: State) -> None:
    """What a daemon does every second: it learns what there is, and fetches what it lacks."""
    assert state.stream is not None
    state.stream.learn(TOLD * state.commits)
    told(state, state.stream, state.log[state.stream.seq : TOLD * state.commits])


def steps_of_filters(state: State) -> Iterator[Step]:
    """A beat, after which the client is where the stream is; the other client comes or goes."""
    stream = state.stream
    assert stream is not None
    if state.subscribed and state.seen != stream.seq:
        new = state.copied()
        new.seen = stream.seq
        yield Step("a beat", new)
    if state.others is not None:
        new = state.copied()
        new.others = None
        leave(new, OTHER)
        yield Step("the other leaves", new)
    elif stream.snapshot is not None:
        new = state.copied()
        new.others = begin(new, OTHER, stream.snapshot.position.seq)
        yield Step("another subscribes", new)


def told(state: State, stream: Stream, messages: Sequence[AnyMessage]) -> None:
    """What the hub does with messages from wherever."""
    ready = stream.receive(messages)
    if not ready or state.group is None:
        return
    passed, previous = state.group.passed(stream.name, ready)
    for broadcast, before in zip(passed, previous or [None] * len(passed), strict=True):
        if CLIENT in state.group.clients:
            state.seen = advanced(state, state.seen, broadcast.seq, before)
        if OTHER in state.group.clients:
            state.others = advanced(state, state.others, broadcast.seq, before)


def advanced(state: State, seen: int | None, seq: int, before: int | None) -> int:
    """How far a client has come that gets a message; `before` is its `prev_seq`."""
    assert seen is not None
    if before is None:
        before = seq - 1
        assert seen == before, f"message {seq} after {seen}"
    assert before <= seen < seq, f"message {seq}, before it {before}, after {seen}"
    assert not passes(state, before + 1, seq), f"{before} is not the one before {seq}"
    return seq


def passes(state: State, first: int, end: int) -> bool:
    """Whether any message from `first` on and before `end` passes the filter."""
    chosen = state.room.filter
    return any(chosen is None or chosen.passes(one) for one in state.log[first - 1 : end - 1])


def leave(state: State, client: Client) -> None:
    if state.group is not None:
        state.group.clients.pop(client, None)
        if not state.group.clients:
            state.group = None


def begin(state: State, client: Client, since: int) -> int:
    """What the hub does for a client that begins after a position. Returns how far it has come."""
    stream = state.stream
    assert stream is not None
    missed = stream.since(since)
    assert missed is not None
    chosen, seen = state.room.filter, since
    reached = since if chosen is not None else stream.seq
    for broadcast, before in passing(chosen, missed, since):
        seen = reached = advanced(state, seen, broadcast.seq, before)
    if state.group is None:
        state.group = Group(chosen)
    state.group.add(client, stream.name, reached)
    return seen


def subscribe(state: State, since: int | None) -> bool:
    """What the hub does; False where it has to read first."""
    stream = state.stream
    assert stream is not None
    if (stream.snapshot is None and not state.room.private) or (since is not None and since > stream.seq):
        return False
    missed = None if since is None else stream.since(since)
    if missed is None and since is not None:
        stream.remember(state.log[since : stream.seq])
        missed = stream.since(since)
        assert missed is not None or stream.seq - since > state.room.recent, "all of it is in the history"
    if missed is None and state.room.private:
        state.seen = stream.seq
    elif missed is None:
        snapshot = stream.snapshot
        assert snapshot is not None
        data = snapshot.data
        assert isinstance(data, MarketUpdate)
        assert snapshot.position.seq % TOLD == 0, "a snapshot in the middle of a commit"
        assert data.shares_yes == snapshot.position.seq // TOLD, "the state is not that of its position"
        state.seen = snapshot.position.seq
    assert state.seen is not None
    state.subscribed = True
    state.seen = begin(state, CLIENT, state.seen)
    assert not passes(state, state.seen + 1, stream.seq + 1), "a subscriber is where the stream is"
    return True


@pytest.mark.parametrize(
    "room",
    [
        Room(),
        Room(early=1, recent=2),
        Room(private=True),
        Room(early=1, recent=2, private=True),
        pytest.param(Room(filter=VOTES), marks=pytest.mark.long),
        Room(early=1, recent=2, filter=VOTES),
    ],
)
def test_no_order_of_events_costs_a_client_a_message_or_tells_one_twice(room: Room) -> None:
    start = State(room)
    known = {start.key}
    paths: deque[tuple[State, tuple[str, ...]]] = deque([(start, ())])
    ended = 0
    while paths:
        state, path = paths.popleft()
        try:
            following = list(steps(state))
            if state.subscribed and state.stream is not None and not state.paused:
                quiet = state.copied()
                look(quiet)
                assert quiet.seen is not None
                end = TOLD * quiet.commits + 1
                assert not passes(quiet, quiet.seen + 1, end), "what was committed has not arrived"
                ended += state.commits == COMMITS
        except AssertionError as error:
            raise AssertionError(f"{error}: {' / '.join(path)}") from error
        for step in following:
            if step.state.key not in known:
                known.add(step.state.key)
                paths.append((step.state, (*path, step.name)))
    assert ended > 100
    assert len(known) > 3_000

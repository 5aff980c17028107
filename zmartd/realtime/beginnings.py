"""Where a subscription begins: after the position that the client names, or at a state."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET, Struct, UnsetType

from zmartd.realtime import subscription_answers
from zmartd.realtime.client import Client
from zmartd.realtime.filters import Filter
from zmartd.realtime.frame_data import ChannelData
from zmartd.realtime.frames import Broadcast
from zmartd.realtime.groups import passing
from zmartd.realtime.messages import Snapshot, wallet_of
from zmartd.realtime.stream import Stream
from zmartd.store.streams import StreamPosition


class Wanted(Struct, frozen=True):
    """One of several subscriptions: its name, after which position it goes on, and what of it is wanted."""

    name: str
    since: StreamPosition | None
    filter: Filter | None


class Beginning(Struct, frozen=True):
    """Where a subscription begins: after a position, which a snapshot is of, with what followed it."""

    stream: Stream
    position: StreamPosition
    missed: Sequence[Broadcast]
    snapshot: Snapshot | None
    recovered: bool | UnsetType
    size_bytes: int = 0
    """What all that was missed takes, or half of the room that it did not fit in: frames were made in vain,
    which others among many channels must not cost as much again.
    """

    def channel_data(self, label: str) -> ChannelData:
        """What an answer to several subscriptions says of this one, which it calls `label`."""
        return subscription_answers.channel_data(label, self.position, self.snapshot, self.recovered)


def beginning_of(client: Client, wanted: Wanted, stream: Stream, room: int) -> Beginning | None:
    """Where a subscription to a stream that is followed begins; None where its state has to be read first.

    What was missed is sent if it takes at most `room` bytes.
    """
    if wallet_of(wanted.name) is None and stream.snapshot is None:
        return None
    since, tried = wanted.since, 0
    if since is not None and since.epoch == stream.epoch:
        missed = stream.since(since.seq)
        size = None if missed is None else _size(client, missed, wanted.name, wanted.filter, room)
        if missed is not None and size is not None:
            return Beginning(stream, since, missed, None, recovered=True, size_bytes=size)
        tried = 0 if missed is None else room // 2
    recovered = UNSET if since is None else False
    if stream.snapshot is None:
        return Beginning(stream, stream.position, (), None, recovered=recovered, size_bytes=tried)
    snapshot, later = stream.snapshot, after_snapshot(stream)
    return Beginning(stream, snapshot.position, later, snapshot, recovered=recovered, size_bytes=tried)


def fits(client: Client, broadcasts: Sequence[Broadcast], name: str) -> bool:
    """Whether a client can be sent all of these, and is not dropped for leaving them unread."""
    return _size(client, broadcasts, name, client.filters.get(name), client.room_bytes()) is not None


def after_snapshot(stream: Stream) -> Sequence[Broadcast]:
    """What the stream has told since its snapshot: the beginning of a change that is not told whole yet."""
    if wallet_of(stream.name) is not None:
        return ()
    assert stream.snapshot is not None, "a stream that was found has one"
    later = stream.since(stream.snapshot.position.seq)
    assert later is not None, "it is never dropped"
    return later


def _size(
    client: Client, broadcasts: Sequence[Broadcast], name: str, chosen: Filter | None, limit: int
) -> int | None:
    """How many bytes these take that pass the filter; None if that is more than `limit`."""
    size = 0
    before = broadcasts[0].seq - 1 if broadcasts else 0
    for broadcast, previous in passing(chosen, broadcasts, before):
        size += len(broadcast.encoded(name, client.audience, previous).data)
        if size > limit:
            return None
    return size

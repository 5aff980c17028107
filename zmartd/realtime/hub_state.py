"""What a hub knows of its clients and streams, for the hub of the next process, which goes on there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from zmartd.realtime.filters import Filter
from zmartd.store.streams import StreamPosition

MAX_REACHED: Final = 200_000
"""The most numbers in the `reached` of all subscriptions together."""


class StreamsState(Struct, frozen=True):
    """How far all streams that were followed have been told, and since when others are unknown."""

    epoch: str | None
    horizon: str | None
    """Where the next look at the database begins."""
    found: Mapping[str, tuple[int, int]]
    """What the last look found, by stream: the first and the last number."""
    positions: Mapping[str, StreamPosition]
    """By the names of the streams."""
    known: Mapping[str, int]
    """The numbers of messages that are known of, of the streams that have not come as far."""
    ids: Mapping[str, str]
    """The ids of markets by their addresses."""


class Subscription(Struct, frozen=True):
    """What clients subscribed to under the same name with the same filter, and how far they have got."""

    name: str
    filter: Filter | None
    gets: bool
    """Whether they get what the stream tells next; otherwise they wait for what follows `since`."""
    since: StreamPosition | None
    """None for all markets, and where they wait for a state."""
    reached: Mapping[str, int] = {}
    """With a filter, by stream: the number that the next message has as that of the one before it."""


class HubState(Struct, frozen=True):
    """The streams, and all subscriptions. Clients are described by the places of theirs in the list."""

    streams: StreamsState
    subscriptions: list[Subscription]


class SubscriptionTable:
    """Subscriptions, each once."""

    def __init__(self) -> None:
        self.subscriptions: list[Subscription] = []
        self._places: dict[tuple[str, Filter | None, bool, StreamPosition | None], int] = {}
        self._reached = 0

    def places(self, subscriptions: Sequence[Subscription]) -> list[int] | None:
        """Where these are in the list; None if too much is in it."""
        found: list[int] = []
        for one in subscriptions:
            key = one.name, one.filter, one.gets, one.since  # the rest follows from these
            place = self._places.get(key)
            if place is None:
                if self._reached + len(one.reached) > MAX_REACHED:
                    return None
                self._reached += len(one.reached)
                place = self._places[key] = len(self.subscriptions)
                self.subscriptions.append(replace(one, reached={**one.reached}))  # others change theirs
            found.append(place)
        return found

"""Clients that get the same messages of a stream under the same name: what they get is encoded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from zmartd.realtime.client import Client
from zmartd.realtime.filters import Filter
from zmartd.realtime.frames import Broadcast


class Group:
    """Clients in the order in which they subscribed, with one filter or none.

    The groups of one stream are by name and filter; those of all streams by filter.
    """

    __slots__ = ("_last", "clients", "filter")

    def __init__(self, chosen: Filter | None, reached: Mapping[str, int] = MappingProxyType({})) -> None:
        self.clients: dict[Client, None] = {}
        self.filter = chosen
        self._last = dict(reached)
        """By stream, a number between which and where the stream is nothing passes the filter.

        No client that has all messages before it has got less far.
        """

    def add(self, client: Client, stream: str, seq: int) -> None:
        """Add a client whose newest message of a stream has this number, or that begins there.

        Nothing passes the filter between it and where the stream is.
        """
        self.clients[client] = None
        if self.filter is not None:
            self._last[stream] = min(seq, self._last.get(stream, seq))

    @property
    def reached(self) -> Mapping[str, int]:
        """By stream, the number that the next message that passes has as that of the one before it.

        Empty without a filter.
        """
        return self._last

    def forget(self, stream: str) -> None:
        """The stream is another one from now on."""
        self._last.pop(stream, None)

    def passed(
        self, stream: str, broadcasts: Sequence[Broadcast]
    ) -> tuple[Sequence[Broadcast], Sequence[int | None]]:
        """Those of the next messages of a stream that pass the filter, and the number before each.

        No numbers without a filter.
        """
        if self.filter is None:
            return broadcasts, ()
        last = self._last.get(stream, broadcasts[0].seq - 1)
        found = list(passing(self.filter, broadcasts, last))
        self._last[stream] = found[-1][0].seq if found else last
        return [broadcast for broadcast, _ in found], [previous for _, previous in found]


def passing(
    chosen: Filter | None, broadcasts: Sequence[Broadcast], after: int
) -> Iterator[tuple[Broadcast, int | None]]:
    """The messages that pass a filter, of those that follow the number `after`."""
    for broadcast in broadcasts:
        if chosen is None:
            yield broadcast, None
        elif chosen.passes(broadcast.message):
            yield broadcast, after
            after = broadcast.seq

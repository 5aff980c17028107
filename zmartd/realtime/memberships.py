"""Who gets which streams, under which name and filter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from zmartd.realtime.client import Client, deliver_to_all
from zmartd.realtime.filters import Filter
from zmartd.realtime.frames import Broadcast
from zmartd.realtime.groups import Group
from zmartd.realtime.messages import Message, market_of
from zmartd.realtime.stream import Stream

Key = TypeVar("Key")


class Memberships:
    """The clients that get what streams tell: those of each stream by itself, and those of all markets."""

    def __init__(self) -> None:
        self._of_streams: dict[str, dict[tuple[str, Filter | None], Group]] = {}
        """By stream, and by the names that clients gave it and their filters."""
        self._of_all: dict[Filter | None, Group] = {}

    @property
    def any_of_all(self) -> bool:
        """Whether anybody gets all markets."""
        return bool(self._of_all)

    def count(self) -> int:
        """How many subscriptions get something. Any thread may ask."""
        of_streams = (group for groups in list(self._of_streams.values()) for group in list(groups.values()))
        return sum(len(group.clients) for group in (*of_streams, *list(self._of_all.values())))

    def any_of(self, stream: str) -> bool:
        """Whether anybody gets this stream by itself."""
        return stream in self._of_streams

    def join(self, client: Client, name: str, stream: str, reached: int) -> None:
        """Add a client that has everything of a stream up to `reached`; see `Group.add`."""
        chosen = client.filters.get(name)
        groups = self._of_streams.setdefault(stream, {})
        groups.setdefault((name, chosen), Group(chosen)).add(client, stream, reached)

    def join_all(
        self, client: Client, chosen: Filter | None, reached: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        """Add a client that gets all markets. `reached`: `Group.reached` of the first with this filter, and
        of all that follow.
        """
        group = self._of_all.get(chosen)
        if group is None:
            group = self._of_all[chosen] = Group(chosen, reached)
        group.clients[client] = None

    def leave(self, client: Client, name: str, stream: str) -> None:
        """Remove a client that may get this stream under this name."""
        groups = self._of_streams.get(stream)
        if groups is not None:
            _remove(groups, (name, client.filters.get(name)), client)
            if not groups:
                del self._of_streams[stream]

    def leave_all(self, client: Client, chosen: Filter | None) -> None:
        """Remove a client that may get all markets."""
        _remove(self._of_all, chosen, client)

    def has(self, client: Client, name: str, stream: str) -> bool:
        """Whether a client gets this stream under this name."""
        return self.reached(client, name, stream) is not None

    def reached(self, client: Client, name: str, stream: str) -> Mapping[str, int] | None:
        """`Group.reached` of a client that gets this stream under this name; None if it does not."""
        group = self._of_streams.get(stream, {}).get((name, client.filters.get(name)))
        return group.reached if group is not None and client in group.clients else None

    def reached_of_all(self, client: Client, chosen: Filter | None) -> Mapping[str, int] | None:
        """The same of a client that gets all markets."""
        group = self._of_all.get(chosen)
        return group.reached if group is not None and client in group.clients else None

    def tell(self, stream: Stream, broadcasts: Sequence[Broadcast]) -> None:
        """Send messages of a stream to everybody who gets them."""
        groups = self._of_streams.get(stream.name, {})
        for (name, _), group in groups.items():
            passed, previous = group.passed(stream.name, broadcasts)
            deliver_to_all(group.clients, passed, name, previous)
        market_id = market_of(stream.name)
        if market_id is None or not self._of_all:
            return
        told = set[Client]().union(*(group.clients for group in groups.values()))
        for every in self._of_all.values():
            others = [one for one in every.clients if one not in told]
            passed, previous = every.passed(stream.name, broadcasts)
            deliver_to_all(others, passed, market_id, previous)

    def getting(self, message: Message) -> Iterator[tuple[str, Iterable[Client]]]:
        """Who would get this message of a market, by the name that they gave the market."""
        groups = self._of_streams.get(message.stream, {})
        for (name, chosen), group in groups.items():
            if chosen is None or chosen.passes(message):
                yield name, group.clients
        told = set[Client]().union(*(group.clients for group in groups.values()))
        for chosen, every in self._of_all.items():
            others = [one for one in every.clients if one not in told]
            if others and (chosen is None or chosen.passes(message)):
                yield message.market_id, others

    def each(self) -> Iterator[tuple[str, str, Iterable[Client]]]:
        """By stream and by the name that clients gave it: who gets it by itself."""
        for stream, groups in self._of_streams.items():
            for (name, _), group in groups.items():
                yield stream, name, group.clients

    def part(self, stream: str) -> list[tuple[str, Iterable[Client]]]:
        """Remove those who get a stream by itself, which is lost. Returns them by the names they gave it."""
        return [(name, group.clients) for (name, _), group in self._of_streams.pop(stream, {}).items()]

    def all_without(self, stream: str) -> Iterator[Client]:
        """Those who get all markets, of which one begins anew."""
        for every in self._of_all.values():
            every.forget(stream)
            yield from every.clients

    def all_anew(self) -> Iterator[Client]:
        """Those who get all markets, which all begin anew."""
        for chosen, every in list(self._of_all.items()):
            begun = self._of_all[chosen] = Group(chosen)
            begun.clients = every.clients
            yield from every.clients


def _remove(groups: dict[Key, Group], key: Key, client: Client) -> None:
    group = groups.get(key)
    if group is not None:
        group.clients.pop(client, None)
        if not group.clients:
            del groups[key]

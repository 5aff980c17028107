"""The subscriptions that get nothing now: those that wait for their stream, and those that pause."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from zmartd.realtime.client import Client
from zmartd.store.streams import StreamPosition

Outer = TypeVar("Outer")
Inner = TypeVar("Inner")


class Waitlist:
    """By the name that the client gave its stream, and after which position it goes on, if after any.

    A wallet's stream pauses while it is not known whether the client's session goes on.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, dict[Client, StreamPosition | None]] = {}
        self._paused: dict[Client, dict[str, StreamPosition | None]] = {}

    def entries(self) -> dict[str, int]:
        """How many there are of each kind. Any thread may ask."""
        return {
            "waiting": sum(len(clients) for clients in list(self._waiting.values())),
            "paused": sum(len(names) for names in list(self._paused.values())),
        }

    def wait(self, name: str, clients: Iterable[Client], since: StreamPosition | None = None) -> None:
        """Let clients wait for a stream."""
        self._waiting.setdefault(name, {}).update(dict.fromkeys(clients, since))

    def pause(self, client: Client, name: str, since: StreamPosition | None) -> None:
        """Let a client's stream pause."""
        self._paused.setdefault(client, {})[name] = since

    def unpause(self, client: Client) -> None:
        """Let a client wait for all of its streams that paused."""
        for name, since in self._paused.pop(client, {}).items():
            self.wait(name, [client], since)

    def since(self, client: Client, name: str) -> StreamPosition | None:
        """After which position a client goes on that waits or pauses."""
        paused = self._paused.get(client, {})
        return paused[name] if name in paused else self._waiting.get(name, {}).get(client)

    def positions(self) -> list[tuple[str, StreamPosition | None]]:
        """Each stream that is waited for, with each position after which somebody goes on."""
        return [
            (name, since)
            for name, clients in self._waiting.items()
            for since in dict.fromkeys(clients.values())
        ]

    def take(self, name: str, since: StreamPosition | None) -> list[Client]:
        """Remove those who wait for a stream after this position, and give them."""
        clients = [client for client, after in self._waiting.get(name, {}).items() if after == since]
        for client in clients:
            _remove(self._waiting, name, client)
        return clients

    def take_all(self, name: str) -> list[Client]:
        """Remove all who wait for a stream, and give them."""
        return list(self._waiting.pop(name, {}))

    def leave(self, client: Client, name: str) -> None:
        """Remove a client's subscription."""
        _remove(self._waiting, name, client)
        _remove(self._paused, client, name)


def _remove(entries: dict[Outer, dict[Inner, Any]], outer: Outer, inner: Inner) -> None:
    """Remove an entry, and with its last one what it is in."""
    within = entries.get(outer)
    if within is not None:
        within.pop(inner, None)
        if not within:
            del entries[outer]

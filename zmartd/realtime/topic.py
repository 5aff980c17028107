"""The subscribers of one market, and the version of it that each of them has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zmartd.realtime.client import Client
from zmartd.realtime.frames import Broadcast

MAX_HELD = 10_000
"""Messages kept for a client while its snapshot is read. The read times out long before there are so many."""


class Topic:
    """The subscribers of one name. A client joins, its snapshot of the market is read, and it is admitted.

    Messages in between are held, so that the client misses none, and those that the snapshot contains are not
    sent to it.
    """

    def __init__(self) -> None:
        self._members: dict[Client, int] = {}
        self._joining: dict[Client, list[Broadcast]] = {}

    def __bool__(self) -> bool:
        return bool(self._members or self._joining)

    def __contains__(self, client: Client) -> bool:
        return client in self._members or client in self._joining

    def __iter__(self) -> Iterator[Client]:
        """The admitted clients."""
        return iter(self._members)

    def join(self, client: Client) -> None:
        """Hold messages for `client` from now on."""
        self._members.pop(client, None)
        self._joining[client] = []

    def admit(self, client: Client, version: int) -> None:
        """Send the held messages that are later than `version`, that of the client's snapshot; then all."""
        held = self._joining.pop(client)
        self._members[client] = version
        for broadcast in held:
            if broadcast.version > version:
                client.deliver(broadcast)

    def leave(self, client: Client) -> None:
        self._members.pop(client, None)
        self._joining.pop(client, None)

    def refresh(self, version: int) -> None:
        """Note that all members have been sent the state of `version`."""
        for client, known in self._members.items():
            self._members[client] = max(known, version)

    def publish(self, broadcast: Broadcast, sent_to: Sequence[Topic] = ()) -> None:
        """Send to the clients that do not have it, except those in the topics `sent_to`."""
        for client, version in self._members.items():
            if broadcast.version > version and not (sent_to and _is_in(client, sent_to)):
                client.deliver(broadcast)
        for client, held in self._joining.items():
            if sent_to and _is_in(client, sent_to):
                continue
            if len(held) < MAX_HELD:
                held.append(broadcast)
            else:
                client.drop()


def _is_in(client: Client, topics: Sequence[Topic]) -> bool:
    return any(client in topic for topic in topics)

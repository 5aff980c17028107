"""Who gets the messages about one market, and from which version of it on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zmartd.realtime.client import Client
from zmartd.realtime.frames import Broadcast

MAX_HELD = 10_000
"""Messages held for a client while its snapshot is read. The read has a time-out, so this is never near."""


class Topic:
    """The subscribers of one name: a client joins, then the market's state is read, then it is admitted.

    What is published in between is held for it, so that nothing is missed, and what the state already
    contains is not sent again.
    """

    def __init__(self) -> None:
        self._members: dict[Client, int] = {}
        self._joining: dict[Client, list[Broadcast]] = {}

    def __bool__(self) -> bool:
        return bool(self._members or self._joining)

    def __contains__(self, client: Client) -> bool:
        return client in self._members or client in self._joining

    def __iter__(self) -> Iterator[Client]:
        """The admitted ones."""
        return iter(self._members)

    def join(self, client: Client) -> None:
        """Hold for `client` what is published from now on."""
        self._members.pop(client, None)
        self._joining[client] = []

    def admit(self, client: Client, version: int) -> None:
        """Send what was held and is later than the state of `version` that the client has; then all else."""
        held = self._joining.pop(client)
        self._members[client] = version
        for broadcast in held:
            if broadcast.order > version:
                client.deliver(broadcast)

    def leave(self, client: Client) -> None:
        self._members.pop(client, None)
        self._joining.pop(client, None)

    def refresh(self, version: int) -> None:
        """From now on every member has the state of `version`."""
        for client, known in self._members.items():
            self._members[client] = max(known, version)

    def publish(self, broadcast: Broadcast, elsewhere: Sequence[Topic] = ()) -> None:
        """Send to each member for whom it is news, unless one of the topics `elsewhere` sends it too."""
        for client, version in self._members.items():
            if broadcast.order > version and not (elsewhere and _is_in(client, elsewhere)):
                client.deliver(broadcast)
        for client, held in self._joining.items():
            if elsewhere and _is_in(client, elsewhere):
                continue
            if len(held) < MAX_HELD:
                held.append(broadcast)
            else:
                client.drop()


def _is_in(client: Client, topics: Sequence[Topic]) -> bool:
    return any(client in topic for topic in topics)

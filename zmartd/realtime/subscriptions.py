"""What the clients of a hub are subscribed to: who gets its stream now, who waits for it, and who pauses."""

from __future__ import annotations

from typing import Final

from zmartd.realtime.client import Client
from zmartd.realtime.filters import Filter
from zmartd.realtime.followed import FollowedStreams
from zmartd.realtime.hub_state import Subscription
from zmartd.realtime.memberships import Memberships
from zmartd.realtime.messages import market_stream, wallet_of
from zmartd.realtime.waitlist import Waitlist

EVERY_MARKET: Final = "*"


class Subscriptions:
    """By the names that clients give them: a market's id or address, a wallet's stream, `*`."""

    def __init__(self, streams: FollowedStreams) -> None:
        self._streams = streams
        self.members = Memberships()
        self.waitlist = Waitlist()

    def gets(self, client: Client, name: str) -> bool:
        """Whether a client gets what it has subscribed to as `name`."""
        return self.members.has(client, name, self._stream_name(name))

    def part(self, client: Client, name: str) -> None:
        """Send a client nothing more of this, to which it stays subscribed."""
        if name == EVERY_MARKET:
            self.members.leave_all(client, client.filters.get(name))
            return
        self.waitlist.leave(client, name)
        self.members.leave(client, name, self._stream_name(name))

    def described(self, client: Client, name: str) -> Subscription:
        """What another hub has to know of a subscription."""
        chosen = client.filters.get(name)
        if name == EVERY_MARKET:
            reached = self.members.reached_of_all(client, chosen)
            return Subscription(name, chosen, reached is not None, None, reached or {})
        stream = self._stream_name(name)
        reached = self.members.reached(client, name, stream)
        if reached is None:
            return Subscription(name, chosen, gets=False, since=self.waitlist.since(client, name))
        return Subscription(name, chosen, gets=True, since=self._streams.position(stream), reached=reached)

    def adopt(self, client: Client, one: Subscription) -> None:
        """Go on with a subscription that another hub had. The stream of a wallet pauses."""
        client.subscriptions.append(one.name)
        choose(client, one.name, one.filter)
        if one.name == EVERY_MARKET:
            self.members.join_all(client, one.filter, one.reached)
            return
        stream = self._stream_name(one.name)
        position = self._streams.position(stream)
        if wallet_of(one.name) is not None:
            self.waitlist.pause(client, one.name, one.since)
        elif one.gets and position is not None:
            self.members.join(client, one.name, stream, one.reached.get(stream, position.seq))
        else:
            self.waitlist.wait(one.name, [client], one.since)

    def _stream_name(self, name: str) -> str:
        """The name of the stream that clients call `name`."""
        return market_stream(self._streams.id_of(name)) if wallet_of(name) is None else name


def forget(client: Client, name: str) -> None:
    """The client, which is in no group for this any more, is not subscribed to it."""
    client.filters.pop(name, None)
    if name in client.subscriptions:
        client.subscriptions.remove(name)


def choose(client: Client, name: str, chosen: Filter | None) -> None:
    """Set the filter of a subscription, which is in no group."""
    client.filters.pop(name, None)
    if chosen is not None:
        client.filters[name] = chosen

"""The newest state of each market that has passed, so that a late message moves no client backwards."""

from __future__ import annotations

from zmartd.realtime.messages import Channel, Message

CAPACITY = 100_000
"""Markets remembered; beyond that the ones that have been quiet for longest are forgotten."""

_STATES = frozenset({Channel.UPDATE, Channel.PRICE})


class LatestStates:
    """Two daemons may publish two changes of a market in another order than they committed them."""

    def __init__(self) -> None:
        self._versions: dict[tuple[str, Channel], int] = {}

    def version(self, market_id: str) -> int:
        """The version of the newest update of a market that passed, or -1."""
        return self._versions.get((market_id, Channel.UPDATE), -1)

    def is_late(self, message: Message) -> bool:
        """Whether a newer state or price than `message` has passed already; if not, it is the newest now."""
        if message.channel not in _STATES:
            return False
        key = message.market_id, message.channel
        newest = self._versions.pop(key, -1)
        self._versions[key] = max(newest, message.version)
        if len(self._versions) > 2 * CAPACITY:
            del self._versions[next(iter(self._versions))]
        return message.version < newest

"""Why a subscription is refused."""

from __future__ import annotations

from zmartd.errors import DetailedError
from zmartd.realtime.frame_data import AboutMessage


class UnknownMarket(DetailedError[AboutMessage]):
    """There is no such market on the chain; GET /api/markets lists those that there are."""

    code = "market_not_found"


class TooManySubscriptions(DetailedError[AboutMessage]):
    """This connection is subscribed to as many channels as it may be: unsubscribe from some, or use "*"."""

    code = "too_many_subscriptions"

    def __init__(self, market_id: str) -> None:
        super().__init__(AboutMessage(market_id=market_id))


class ForeignStream(DetailedError[AboutMessage]):
    """A wallet's stream is for that wallet alone: sign in as it first."""

    code = "foreign_stream"

    def __init__(self, channel: str) -> None:
        super().__init__(AboutMessage(field="channel", channel=channel))


def not_found(name: str) -> UnknownMarket:
    """The error for a market that there is not, by the name that a client gave it."""
    return UnknownMarket(
        AboutMessage(field="market_id", market_id=name),
        f'There is no market "{name}" on the chain; send the id or the address of one that '
        'GET /api/markets lists, or "*" for all markets.',
    )

"""What a client's message subscribes to: the hub's names of its channels, their positions, and the filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from zmartd.http.errors.auth import SessionRequired
from zmartd.http.errors.websocket import InvalidMessage, MarketIdRequired, UnknownChannel
from zmartd.http.kit.names import nearest
from zmartd.http.ws.messages import (
    KIND_NAMES,
    ChannelMessage,
    Since,
    SubscribeMessage,
    UnsubscribeMessage,
    WantedChannel,
)
from zmartd.market.ids import is_market_id
from zmartd.realtime.client import Client
from zmartd.realtime.filters import Filter
from zmartd.realtime.frame_data import AboutMessage
from zmartd.realtime.messages import market_of, wallet_of, wallet_stream
from zmartd.realtime.subscriptions import EVERY_MARKET
from zmartd.store.streams import StreamPosition

OWN_CHANNEL: Final = "user"
"""The stream of the session's wallet."""
_SIGN_IN: Final = "sign in with action auth first"
_CHANNELS: Final = ("market:", "user:", OWN_CHANNEL, EVERY_MARKET)


class ChannelNames:
    """The hub's names of channels, for one client.

    A market's address, its id in lower case, `*`, or the name of a wallet's stream.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def of(self, message: ChannelMessage) -> str:
        """What a message about one channel is about.

        Raises InvalidMessage, MarketIdRequired, UnknownChannel, SessionRequired.
        """
        if message.channel is None:
            if not message.market_id:
                raise MarketIdRequired
            return _market_name(message.market_id)
        if message.market_id is not None:
            raise InvalidMessage("Send market_id or channel, not both.", field="channel")
        return name_of(message.channel, self._client.wallet, "channel", _SIGN_IN)

    def of_all(self, message: SubscribeMessage | UnsubscribeMessage) -> dict[str, str]:
        """The channels of a message about several, by their names and in order. Raises what `of` raises."""
        for key, value in (("market_id", message.market_id), ("channel", message.channel)):
            if value is not None:
                raise InvalidMessage(f"Send {key} or channels, not both.", field=key)
        if isinstance(message, SubscribeMessage) and message.since is not None:
            raise InvalidMessage("Send since with each of the channels.", field="since")
        labels: dict[str, str] = {}
        for place, wanted in enumerate(message.channels or ()):
            channel = wanted.channel if isinstance(wanted, WantedChannel) else wanted
            field = f"channels[{place}]"
            name = name_of(channel, self._client.wallet, field, _SIGN_IN)
            if name in labels:
                raise InvalidMessage(f"{field} is a channel that is in the list already.", field=field)
            labels[name] = channel
        return labels


def name_of(channel: str, wallet: str | None, field: str, sign_in: str) -> str:
    """The hub's name of a channel, for a client that is signed in as `wallet`.

    `field`: where the channel is named. `sign_in`: how a client signs in. Raises UnknownChannel,
    SessionRequired.
    """
    if channel == EVERY_MARKET:
        return EVERY_MARKET
    market = market_of(channel)
    if market:
        return _market_name(market)
    if wallet_of(channel):
        return channel
    if channel != OWN_CHANNEL:
        raise UnknownChannel(channel, field, nearest(channel.partition(":")[0], _CHANNELS))
    if wallet is None:
        rule = f'"{OWN_CHANNEL}" is the stream of the wallet that has signed in: {sign_in}.'
        raise SessionRequired(field, rule)
    return wallet_stream(wallet)


def position_of(since: Since | str | None) -> StreamPosition | None:
    """The position that a message resumes from, which has been validated."""
    if isinstance(since, str):
        return StreamPosition.parse(since)
    return None if since is None else StreamPosition(since.epoch, since.seq)


def key_of(message: SubscribeMessage, names: Sequence[str], about: AboutMessage) -> str:
    """Where a message names what an error is `about`, one of the hub's `names` of its channels."""
    if message.channels is None:
        return "market_id" if message.channel is None else "channel"
    wrong = about.market_id or about.channel
    return f"channels[{names.index(wrong)}]" if wrong in names else "channels"


def filter_of(message: SubscribeMessage, *, signed_in: bool) -> Filter | None:
    """What of its channels a message asks for; None for everything.

    Raises InvalidMessage; SessionRequired for trades by wallet, which anonymous clients see shortened.
    """
    for place, kind in enumerate(message.kinds or ()):
        if kind not in KIND_NAMES:
            meant = nearest(kind, KIND_NAMES)
            hint = f"did you mean {meant}?" if meant else f"send some of {', '.join(KIND_NAMES)}."
            field = f"kinds[{place}]"
            raise InvalidMessage(f"{field} is not the type of a frame; {hint}", field=field)
    if message.wallet is not None and not signed_in:
        rule = "wallet is for clients who have signed in, because others see wallets shortened"
        raise SessionRequired("wallet", f"{rule}: {_SIGN_IN}, or leave wallet out.")
    chosen = Filter(
        kinds=None if message.kinds is None else frozenset(message.kinds),
        category=message.category,
        min_cost_lamports=None if message.min_cost is None else int(message.min_cost),
        wallet=message.wallet,
    )
    return None if chosen == Filter() else chosen


def _market_name(reference: str) -> str:
    lowered = reference.lower()
    return lowered if is_market_id(lowered) else reference

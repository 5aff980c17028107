"""The frames that answer subscriptions, and that tell where one goes on: of markets and of wallets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from zmartd.market.iso_time import iso_time
from zmartd.realtime.frame_data import (
    ChannelData,
    MarketStateData,
    SubscribedData,
    UnsubscribedData,
)
from zmartd.realtime.frames import Frame, market_changed, market_data, snapshot_frame
from zmartd.realtime.messages import Snapshot, wallet_of
from zmartd.realtime.stream import Stream
from zmartd.realtime.wallet_frames import UserStateData
from zmartd.store.streams import StreamPosition


def begun(
    name: str,
    subscriptions: Sequence[str],
    stream: Stream,
    now: datetime,
    *,
    recovered: bool | UnsetType = UNSET,
) -> Frame:
    """The answer to a subscription: where the stream is, and the market's state there.

    `recovered` is false where the client asked to go on from a position and cannot.
    """
    wallet = wallet_of(name)
    if wallet is None:
        return market_begun(name, subscriptions, stream.snapshot, now, recovered=recovered)
    return _wallet_state(name, wallet, stream.position, now, subscriptions=subscriptions, recovered=recovered)


def resumed(name: str, subscriptions: Sequence[str], since: StreamPosition, now: datetime) -> Frame:
    """The answer to a subscription that goes on after `since`: all that followed it comes next."""
    wallet = wallet_of(name)
    if wallet is None:
        return _market_resumed(name, subscriptions, since, now)
    return _wallet_state(name, wallet, since, now, subscriptions=subscriptions, recovered=True)


def unknown(name: str, subscriptions: Sequence[str], now: datetime) -> Frame:
    """The answer to a subscription that can only be followed later."""
    wallet = wallet_of(name)
    if wallet is None:
        return market_begun(name, subscriptions, None, now)
    return _wallet_state(name, wallet, None, now, subscriptions=subscriptions)


def state(name: str, stream: Stream, now: datetime) -> Frame:
    """Where the stream is, and the market's state there, for clients that may have missed messages."""
    wallet = wallet_of(name)
    if wallet is not None:
        return _wallet_state(name, wallet, stream.position, now)
    assert stream.snapshot is not None, "a stream that was found has one"
    return snapshot_frame(stream.snapshot, name)


def market_begun(
    name: str,
    subscriptions: Sequence[str],
    snapshot: Snapshot | None,
    now: datetime,
    *,
    recovered: bool | UnsetType = UNSET,
) -> Frame:
    """The answer to a subscription to a market, with its present state if that is known.

    `recovered` is false where the client asked to go on from a position and cannot.
    """
    message = f"Subscribed to market {name}"
    if snapshot is None:
        data = MarketStateData(message=message, subscriptions=subscriptions, known=False, recovered=recovered)
        return Frame(type="market_state", market_id=name, timestamp=iso_time(now), data=data)
    state = snapshot_frame(snapshot, name)
    data = msgspec.structs.replace(
        market_changed(snapshot.market_id, snapshot.data),
        action="snapshot",
        message=message,
        subscriptions=subscriptions,
        known=True,
        recovered=recovered,
    )
    return msgspec.structs.replace(state, timestamp=iso_time(now), data=data)


def _market_resumed(name: str, subscriptions: Sequence[str], since: StreamPosition, now: datetime) -> Frame:
    """The answer to a subscription to a market that goes on after `since`."""
    data = MarketStateData(
        message=f"Subscribed to market {name}", subscriptions=subscriptions, known=True, recovered=True
    )
    return Frame(
        type="market_state",
        market_id=name,
        timestamp=iso_time(now),
        epoch=since.epoch,
        seq=since.seq,
        data=data,
    )


def subscribed_to_all(name: str, subscriptions: Sequence[str], now: datetime) -> Frame:
    """The answer to a subscription to every market at once."""
    data = MarketStateData(message="Subscribed to all markets", subscriptions=subscriptions)
    return Frame(type="market_state", market_id=name, timestamp=iso_time(now), data=data)


def subscribed_to_many(channels: Sequence[ChannelData], subscriptions: Sequence[str], now: datetime) -> Frame:
    """The answer to a subscription to several channels at once."""
    data = SubscribedData(channels=channels, subscriptions=subscriptions)
    return Frame(type="subscribed", timestamp=iso_time(now), data=data)


def unsubscribed_from_many(subscriptions: Sequence[str], now: datetime) -> Frame:
    """The answer to an end of several subscriptions at once."""
    data = UnsubscribedData(subscriptions=subscriptions)
    return Frame(type="unsubscribed", timestamp=iso_time(now), data=data)


def channel_data(
    channel: str, position: StreamPosition, snapshot: Snapshot | None, recovered: bool | UnsetType
) -> ChannelData:
    """One of several channels that were subscribed to: where it begins, and the market's state there."""
    return ChannelData(
        channel=channel,
        known=True,
        epoch=position.epoch,
        seq=position.seq,
        recovered=recovered,
        market=UNSET if snapshot is None else market_data(snapshot.market_id, snapshot.data),
        commitment=UNSET if snapshot is None else snapshot.commitment,
    )


def unsubscribed(name: str, subscriptions: Sequence[str], now: datetime) -> Frame:
    if (wallet := wallet_of(name)) is not None:
        ended = UserStateData(wallet=wallet, message=f"Unsubscribed from {name}", subscriptions=subscriptions)
        return Frame(type="user_state", channel=name, timestamp=iso_time(now), data=ended)
    data = MarketStateData(message=f"Unsubscribed from market {name}", subscriptions=subscriptions)
    return Frame(type="market_state", market_id=name, timestamp=iso_time(now), data=data)


def _wallet_state(
    channel: str,
    wallet: str,
    position: StreamPosition | None,
    now: datetime,
    *,
    subscriptions: Sequence[str] | UnsetType = UNSET,
    recovered: bool | UnsetType = UNSET,
) -> Frame:
    """The answer to a subscription to a wallet's stream, or where it goes on; None if that is not known."""
    answers = subscriptions is not UNSET
    data = UserStateData(
        wallet=wallet,
        message=f"Subscribed to {channel}" if answers else UNSET,
        subscriptions=subscriptions,
        known=position is not None if answers else UNSET,
        recovered=recovered,
    )
    return Frame(
        type="user_state",
        channel=channel,
        timestamp=iso_time(now),
        epoch=UNSET if position is None else position.epoch,
        seq=UNSET if position is None else position.seq,
        data=data,
    )

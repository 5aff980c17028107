"""What each type of frame is: its data, and which of the fields around the data it has."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from msgspec import Struct, structs

from zmartd.realtime.frame_data import (
    AuthenticatedData,
    BeatData,
    CommitmentData,
    DiscussionData,
    ErrorData,
    MarketStateData,
    PongData,
    PriceData,
    ResyncData,
    RetractedData,
    SessionEndedData,
    SkippedData,
    SubscribedData,
    TradeData,
    UnsubscribedData,
    VoteCountsData,
    VoteData,
    WelcomeData,
)
from zmartd.realtime.frames import FrameType
from zmartd.realtime.wallet_frames import (
    ClaimData,
    FillData,
    OwnCommitmentData,
    OwnPositionData,
    OwnRetractedData,
    TransactionData,
    UserStateData,
)


class Presence(Enum):
    """Whether frames of a type have a field."""

    ALWAYS = "always"
    SOMETIMES = "sometimes"
    NEVER = "never"


class FrameKind(Struct, frozen=True, kw_only=True):
    """One type of frame."""

    name: FrameType
    """Its `type`."""
    summary: str
    data: type[Struct]
    is_pushed: bool = True
    """Whether it also comes unasked."""
    id: Presence = Presence.NEVER
    market_id: Presence = Presence.NEVER
    channel: Presence = Presence.NEVER
    epoch: Presence = Presence.NEVER
    seq: Presence = Presence.NEVER
    prev_seq: Presence = Presence.NEVER
    commitment: Presence = Presence.NEVER


def _told(
    name: FrameType, summary: str, data: type[Struct], commitment: Presence = Presence.ALWAYS
) -> FrameKind:
    """A frame in the stream of a market."""
    return FrameKind(
        name=name,
        summary=summary,
        data=data,
        market_id=Presence.ALWAYS,
        seq=Presence.ALWAYS,
        prev_seq=Presence.SOMETIMES,
        commitment=commitment,
    )


def _told_to_wallet(
    name: FrameType, summary: str, data: type[Struct], commitment: Presence = Presence.ALWAYS
) -> FrameKind:
    """A frame in the stream of a wallet."""
    told = _told(name, summary, data, commitment)
    return structs.replace(told, market_id=Presence.NEVER, channel=Presence.ALWAYS)


FRAME_KINDS: Final[Mapping[str, FrameKind]] = {
    "welcome": FrameKind(name="welcome", summary="The connection is open", data=WelcomeData),
    "authenticated": FrameKind(
        name="authenticated",
        summary="The client is signed in",
        data=AuthenticatedData,
        is_pushed=False,
        id=Presence.SOMETIMES,
    ),
    "session_ended": FrameKind(
        name="session_ended", summary="The client is not signed in any more", data=SessionEndedData
    ),
    "market_state": FrameKind(
        name="market_state",
        summary="A market's present state; also the answer to a subscription",
        data=MarketStateData,
        id=Presence.SOMETIMES,
        market_id=Presence.ALWAYS,
        epoch=Presence.SOMETIMES,
        seq=Presence.SOMETIMES,
        prev_seq=Presence.SOMETIMES,
        commitment=Presence.SOMETIMES,
    ),
    "price_update": _told("price_update", "A market's prices and shares after trades", PriceData),
    "trade": _told("trade", "One trade", TradeData),
    "vote": _told("vote", "One vote, neither by whom nor for what", VoteData, Presence.SOMETIMES),
    "vote_counts": FrameKind(
        name="vote_counts",
        summary="How many votes a market has, after they changed",
        data=VoteCountsData,
        market_id=Presence.ALWAYS,
    ),
    "discussion": _told(
        "discussion", "A comment was written, edited or deleted", DiscussionData, Presence.NEVER
    ),
    "retracted": _told("retracted", "A trade or vote that was published is not on the chain", RetractedData),
    "commitment": _told("commitment", "Trades and votes that no fork can take any more", CommitmentData),
    "skipped": FrameKind(
        name="skipped",
        summary="Prices are left out because a later one follows: the client was behind",
        data=SkippedData,
        market_id=Presence.ALWAYS,
    ),
    "resync": FrameKind(
        name="resync",
        summary="Frames are missing and cannot be had: the state follows",
        data=ResyncData,
        market_id=Presence.SOMETIMES,
        channel=Presence.SOMETIMES,
    ),
    "pong": FrameKind(
        name="pong", summary="The answer to a ping", data=PongData, is_pushed=False, id=Presence.SOMETIMES
    ),
    "beat": FrameKind(
        name="beat",
        summary="Up to where the client has everything, and which parts do not work",
        data=BeatData,
        epoch=Presence.SOMETIMES,
    ),
    "error": FrameKind(
        name="error",
        summary="What is wrong with a message of the client",
        data=ErrorData,
        id=Presence.SOMETIMES,
        market_id=Presence.SOMETIMES,
        channel=Presence.SOMETIMES,
    ),
    "fill": _told_to_wallet("fill", "A trade of the wallet, and its position after it", FillData),
    "claim": _told_to_wallet("claim", "A claim of the wallet, and its position after it", ClaimData),
    "position": _told_to_wallet("position", "The wallet's position in a market", OwnPositionData),
    "transaction": _told_to_wallet(
        "transaction", "What became of a transaction of the wallet", TransactionData, Presence.SOMETIMES
    ),
    "user_retracted": _told_to_wallet(
        "retracted", "A trade or claim of the wallet is not on the chain", OwnRetractedData
    ),
    "user_commitment": _told_to_wallet(
        "commitment", "Trades and claims of the wallet that no fork can take any more", OwnCommitmentData
    ),
    "user_state": FrameKind(
        name="user_state",
        summary="The answer to a subscription to a wallet's stream, or where it goes on",
        data=UserStateData,
        id=Presence.SOMETIMES,
        channel=Presence.ALWAYS,
        epoch=Presence.SOMETIMES,
        seq=Presence.SOMETIMES,
    ),
    "subscribed": FrameKind(
        name="subscribed",
        summary="The answer to a subscription to several channels",
        data=SubscribedData,
        is_pushed=False,
        id=Presence.SOMETIMES,
    ),
    "unsubscribed": FrameKind(
        name="unsubscribed",
        summary="The answer to an end of the subscriptions to several channels",
        data=UnsubscribedData,
        is_pushed=False,
        id=Presence.SOMETIMES,
    ),
}
"""Every kind of frame, by the name of its message in the AsyncAPI document."""

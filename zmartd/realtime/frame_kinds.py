"""What each type of frame is: its data, and which of the fields around the data it has."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from msgspec import Struct

from zmartd.realtime.frame_data import (
    AuthenticatedData,
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
    TradeData,
    VoteData,
    WelcomeData,
)
from zmartd.realtime.frames import FrameType


class Presence(Enum):
    """Whether frames of a type have a field."""

    ALWAYS = "always"
    SOMETIMES = "sometimes"
    NEVER = "never"


class FrameKind(Struct, frozen=True, kw_only=True):
    """One type of frame."""

    summary: str
    data: type[Struct]
    is_pushed: bool = True
    """Whether it also comes unasked."""
    id: Presence = Presence.NEVER
    market_id: Presence = Presence.NEVER
    epoch: Presence = Presence.NEVER
    seq: Presence = Presence.NEVER
    commitment: Presence = Presence.NEVER


def _told(summary: str, data: type[Struct], commitment: Presence = Presence.ALWAYS) -> FrameKind:
    """A frame in the stream of a market."""
    return FrameKind(
        summary=summary,
        data=data,
        market_id=Presence.ALWAYS,
        seq=Presence.ALWAYS,
        commitment=commitment,
    )


FRAME_KINDS: Final[Mapping[FrameType, FrameKind]] = {
    "welcome": FrameKind(summary="The connection is open", data=WelcomeData),
    "authenticated": FrameKind(
        summary="The client is signed in", data=AuthenticatedData, is_pushed=False, id=Presence.SOMETIMES
    ),
    "session_ended": FrameKind(summary="The client is not signed in any more", data=SessionEndedData),
    "market_state": FrameKind(
        summary="A market's present state; also the answer to a subscription",
        data=MarketStateData,
        id=Presence.SOMETIMES,
        market_id=Presence.ALWAYS,
        epoch=Presence.SOMETIMES,
        seq=Presence.SOMETIMES,
        commitment=Presence.SOMETIMES,
    ),
    "price_update": _told("A market's prices and shares after trades", PriceData),
    "trade": _told("One trade", TradeData),
    "vote": _told("One vote, neither by whom nor for what", VoteData, Presence.SOMETIMES),
    "discussion": _told("A comment was written, edited or deleted", DiscussionData, Presence.NEVER),
    "retracted": _told("A trade or vote that was published is not on the chain", RetractedData),
    "commitment": _told("Trades and votes that no fork can take any more", CommitmentData),
    "skipped": FrameKind(
        summary="Prices are left out because a later one follows: the client was behind",
        data=SkippedData,
        market_id=Presence.ALWAYS,
    ),
    "resync": FrameKind(
        summary="Frames are missing and cannot be had: the market's state follows",
        data=ResyncData,
        market_id=Presence.ALWAYS,
    ),
    "pong": FrameKind(summary="The answer to a ping", data=PongData, is_pushed=False, id=Presence.SOMETIMES),
    "error": FrameKind(
        summary="What is wrong with a message of the client",
        data=ErrorData,
        id=Presence.SOMETIMES,
        market_id=Presence.SOMETIMES,
    ),
}
"""Every type of frame."""

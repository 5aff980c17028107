"""The messages of clients: JSON objects with an `action`, and the keys that the action takes.

A message is done whole or not at all: one with a key that its action does not take does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from zmartd.http.errors.requests import InvalidJson
from zmartd.http.errors.websocket import InvalidMessage
from zmartd.http.kit.codec import decode_members
from zmartd.http.kit.fields import Category
from zmartd.realtime.filters import KINDS

MAX_ID_LENGTH = 64
MAX_MARKET_NAME_LENGTH = 128
MAX_CHANNELS = 100
"""Channels in one message."""
KIND_NAMES = tuple(dict.fromkeys(KINDS.values()))
"""The types of frames that a subscription can be limited to."""

MessageId = str | int
Members = Sequence[tuple[str, Any]]
"""The names and values in a message, in order."""


class ClientMessage(Struct, frozen=True, kw_only=True):
    action: Annotated[str, Meta(description="an action")] = ""
    id: Annotated[
        Annotated[str, Meta(max_length=MAX_ID_LENGTH)] | int | None,
        Meta(description=f"a text of at most {MAX_ID_LENGTH} characters or a whole number"),
    ] = None
    """The client's own name for the message. The answer has it as well."""


class MarketMessage(ClientMessage, frozen=True, kw_only=True):
    market_id: Annotated[
        Annotated[str, Meta(max_length=MAX_MARKET_NAME_LENGTH)] | None,
        Meta(description='a market\'s id, its address, or "*" for all markets'),
    ] = None


Channel = Annotated[str, Meta(max_length=MAX_MARKET_NAME_LENGTH)]


class ChannelMessage(MarketMessage, frozen=True, kw_only=True):
    channel: Annotated[
        Channel | None,
        Meta(description='"market:" and its id or address, "user" for the session\'s wallet, or "*"'),
    ] = None


class Since(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A position in a stream, as frames have it."""

    epoch: Annotated[str, Meta(pattern="^[0-9a-f]{16}$", description="the epoch of a frame")]
    seq: Annotated[int, Meta(ge=0, le=2**53, description="the seq of a frame")]


PositionText = Annotated[str, Meta(pattern="^[0-9a-f]{16}:[0-9]{1,15}$")]
"""`epoch:seq`, as answers of the REST API and the ids of events have a position."""


class WantedChannel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel, and the position after which it goes on."""

    channel: Annotated[Channel, Meta(description="a channel")]
    since: Annotated[Since | PositionText | None, Meta(description="the position of its newest frame")] = None


class SubscribeMessage(ChannelMessage, frozen=True, kw_only=True):
    since: Annotated[
        Since | PositionText | None,
        Meta(
            description='the position of the newest frame, {"epoch": "...", "seq": 12}, or "epoch:seq" as '
            "the stream_position of an answer"
        ),
    ] = None
    channels: Annotated[
        Annotated[tuple[Channel | WantedChannel, ...], Meta(min_length=1, max_length=MAX_CHANNELS)] | None,
        Meta(
            description=f"a list of 1 to {MAX_CHANNELS} channels, each a text or "
            '{"channel": "...", "since": {"epoch": "...", "seq": 12}}'
        ),
    ] = None
    kinds: Annotated[
        Annotated[tuple[str, ...], Meta(min_length=1, max_length=len(KIND_NAMES))] | None,
        Meta(description=f"a list of one or more of {', '.join(KIND_NAMES)}"),
    ] = None
    """Only frames of these types."""
    category: Annotated[Category | None, Meta(description=f"one of {', '.join(Category.ALL)}")] = None
    """Only markets of this category, of all."""
    min_cost: Annotated[
        Annotated[str, Meta(pattern="^(0|[1-9][0-9]{0,19})$")] | None,
        Meta(description="lamports as decimal digits in a text"),
    ] = None
    """Only trades and fills with at least this `net`, of trades and fills."""
    wallet: Annotated[
        Annotated[str, Meta(pattern="^[1-9A-HJ-NP-Za-km-z]{32,44}$")] | None,
        Meta(description="a wallet's address, base58 of 32 bytes"),
    ] = None
    """Only trades and comments of this wallet, of trades and comments; for clients who have signed in."""


class UnsubscribeMessage(ChannelMessage, frozen=True, kw_only=True):
    channels: Annotated[
        Annotated[tuple[Channel, ...], Meta(min_length=1, max_length=MAX_CHANNELS)] | None,
        Meta(description=f"a list of 1 to {MAX_CHANNELS} channels"),
    ] = None


class SignInMessage(ClientMessage, frozen=True, kw_only=True):
    token: Annotated[str | None, Meta(description="a session's token")] = None


class PingMessage(ClientMessage, frozen=True, kw_only=True):
    pass


class PongMessage(ClientMessage, frozen=True, kw_only=True):
    pass


def decode(text: str) -> Members:
    """The members of a message. Raises InvalidMessage."""
    try:
        return decode_members(text)
    except InvalidJson as error:
        raise InvalidMessage from error


def id_of(members: Members) -> MessageId | UnsetType:
    """The id with which a message is answered, also one that is refused; UNSET without a valid one."""
    for name, value in members:
        if name == "id" and (
            (isinstance(value, str) and len(value) <= MAX_ID_LENGTH)
            or (isinstance(value, int) and not isinstance(value, bool))
        ):
            return value
    return UNSET

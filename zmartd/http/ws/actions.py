"""What clients can ask for on the WebSocket, how each is answered, and which of it a message asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from zmartd.errors import ZmartdError
from zmartd.http.errors.auth import SessionRequired, SessionsUnavailable, Unauthorized
from zmartd.http.errors.requests import InvalidRequest
from zmartd.http.errors.websocket import (
    InvalidMessage,
    MarketIdRequired,
    TokenRequired,
    TooManyMessages,
    UnknownAction,
    UnknownChannel,
)
from zmartd.http.kit import validation
from zmartd.http.kit.names import Place, nearest, read_names
from zmartd.http.ws.messages import (
    ClientMessage,
    Members,
    PingMessage,
    PongMessage,
    SignInMessage,
    SubscribeMessage,
    UnsubscribeMessage,
)
from zmartd.realtime.followed import StreamUnavailable
from zmartd.realtime.frames import FrameType
from zmartd.realtime.subscription_errors import ForeignStream, TooManySubscriptions, UnknownMarket


class Action(Struct, frozen=True, kw_only=True):
    """One `action` of a client's message."""

    message: type[ClientMessage]
    summary: str
    answers: tuple[FrameType, ...]
    """The types of frames that answer it, where it is not refused."""
    errors: tuple[type[ZmartdError], ...] = ()
    """The errors of its own, besides ANY_MESSAGE."""


ANY_MESSAGE: Final = (InvalidMessage, UnknownAction)
"""The errors that any message can be answered with."""

UNASKED: Final = (TooManyMessages,)
"""The errors that are told before the connection is closed."""

ACTIONS: Final[Mapping[str, Action]] = {
    "subscribe": Action(
        message=SubscribeMessage,
        summary="Get what is told of a market, of all, or of the session's wallet",
        answers=("market_state", "user_state", "subscribed"),
        errors=(
            MarketIdRequired,
            UnknownMarket,
            UnknownChannel,
            SessionRequired,
            ForeignStream,
            TooManySubscriptions,
            StreamUnavailable,
        ),
    ),
    "unsubscribe": Action(
        message=UnsubscribeMessage,
        summary="Get no more of it",
        answers=("market_state", "user_state", "unsubscribed"),
        errors=(MarketIdRequired, UnknownChannel, SessionRequired),
    ),
    "auth": Action(
        message=SignInMessage,
        summary="Sign in on an open connection",
        answers=("authenticated",),
        errors=(TokenRequired, Unauthorized, SessionsUnavailable),
    ),
    "ping": Action(message=PingMessage, summary="Ask for a pong", answers=("pong",)),
    "pong": Action(message=PongMessage, summary="Answer a ping, which does nothing", answers=()),
}
"""Every action by its name."""


def read(members: Members) -> ClientMessage:
    """The message with these members.

    Raises InvalidMessage, which names the key, for an unknown or repeated key and for a value of another
    type; UnknownAction, which names the nearest action.
    """
    action = next((value for name, value in members if name == "action"), None)
    if not isinstance(action, str):
        rule = f"Invalid message format: action is required: one of {', '.join(ACTIONS)}."
        raise InvalidMessage(rule, field="action")
    known = ACTIONS.get(action)
    if known is None:
        raise UnknownAction(action, ACTIONS, nearest(action, ACTIONS))
    values, given, problems = read_names(known.message, members, Place.MESSAGE)
    try:
        return validation.from_json(known.message, values, given, problems)
    except InvalidRequest as error:
        first = error.details[0]
        raise InvalidMessage(f"Invalid message format: {error.message}", field=first.field) from error

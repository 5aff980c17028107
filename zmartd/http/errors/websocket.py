"""Errors of WebSocket connections, and of the messages that clients send on them."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import UNSET, Struct, UnsetType

from zmartd.errors import DetailedError, ZmartdError
from zmartd.realtime.frame_data import AboutMessage

_SHOWN_LENGTH = 64
"""How much of a client's text an error repeats."""


class UpgradeRequired(ZmartdError):
    """This is a WebSocket endpoint; connect to it with ws:// or wss://."""

    code = "upgrade_required"


class ConnectionLimit(Struct, frozen=True):
    """How many connections one address may have open."""

    limit: int
    """The most of them."""


class TooManyConnections(DetailedError[ConnectionLimit]):
    """This address has too many WebSocket connections open; close one first."""

    code = "too_many_connections"


class Restarting(ZmartdError):
    """This daemon is about to end; connect to another one, or to the next one here in a moment."""

    code = "restarting"


class InvalidMessage(DetailedError[AboutMessage]):
    """Invalid message format: send one JSON object with an `action`, as text."""

    code = "invalid_message"

    def __init__(self, message: str | None = None, field: str | UnsetType = UNSET) -> None:
        super().__init__(AboutMessage(field=field), message)


class UnknownAction(DetailedError[AboutMessage]):
    """Unknown action; send one that the message lists."""

    code = "unknown_action"

    def __init__(self, action: str, known: Iterable[str], meant: str | None) -> None:
        question = f"did you mean {meant}? Send" if meant else "send"
        shown = action[:_SHOWN_LENGTH]
        message = f'Unknown action "{shown}"; {question} one of {", ".join(known)}.'
        super().__init__(AboutMessage(field="action"), message)


class MarketIdRequired(DetailedError[AboutMessage]):
    """market_id required: send a market's id, its address, or "*" for all markets; or send channel or
    channels.
    """

    code = "market_id_required"

    def __init__(self) -> None:
        super().__init__(AboutMessage(field="market_id"))


class UnknownChannel(DetailedError[AboutMessage]):
    """Unknown channel; send "market:" and its id or address, "user", or "*"."""

    code = "unknown_channel"

    def __init__(self, channel: str, field: str, meant: str | None) -> None:
        shown = channel[:_SHOWN_LENGTH]
        question = f'did you mean "{meant}"? Send' if meant else "send"
        message = f'Unknown channel "{shown}"; {question} "market:" and its id or address, "user", or "*".'
        super().__init__(AboutMessage(field=field, channel=shown), message)


class TokenRequired(DetailedError[AboutMessage]):
    """token required: send a session token from POST /api/auth/login."""

    code = "token_required"

    def __init__(self) -> None:
        super().__init__(AboutMessage(field="token"))


class TooManyMessages(ZmartdError):
    """Too many frames within a minute, including control frames; connect again later and send fewer."""

    code = "too_many_messages"

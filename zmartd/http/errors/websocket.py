"""Errors of WebSocket connections, and of the messages that clients send on them."""

from __future__ import annotations

from collections.abc import Iterable

from zmartd.errors import ZmartdError

_SHOWN_LENGTH = 64
"""How much of a client's text an error repeats."""


class UpgradeRequired(ZmartdError):
    """This is a WebSocket endpoint; connect to it with ws:// or wss://."""

    code = "upgrade_required"


class TooManyConnections(ZmartdError):
    """This address has too many WebSocket connections open; close one first."""

    code = "too_many_connections"


class InvalidMessage(ZmartdError):
    """Invalid message format: send one JSON object with an `action`, as text."""

    code = "invalid_message"


class UnknownAction(ZmartdError):
    """Unknown action; send one that the message lists."""

    code = "unknown_action"

    def __init__(self, action: str, known: Iterable[str], meant: str | None) -> None:
        question = f"did you mean {meant}? Send" if meant else "send"
        shown = action[:_SHOWN_LENGTH]
        super().__init__(f'Unknown action "{shown}"; {question} one of {", ".join(known)}.', field="action")


class MarketIdRequired(ZmartdError):
    """market_id required: send a market's id, its address, or "*" for all markets."""

    code = "market_id_required"

    def __init__(self) -> None:
        super().__init__(field="market_id")


class TokenRequired(ZmartdError):
    """token required: send a session token from POST /api/auth/login."""

    code = "token_required"

    def __init__(self) -> None:
        super().__init__(field="token")


class TooManyMessages(ZmartdError):
    """Too many frames within a minute, including control frames; connect again later and send fewer."""

    code = "too_many_messages"

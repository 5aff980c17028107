"""Errors of WebSocket connections, and of the messages that clients send on them."""

from __future__ import annotations

from zmartd.errors import ZmartdError


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
    """Unknown action; send subscribe, unsubscribe, auth, ping or pong."""

    code = "unknown_action"


class MarketIdRequired(ZmartdError):
    """market_id required: send a market's id, its address, or "*" for all markets."""

    code = "market_id_required"


class TokenRequired(ZmartdError):
    """token required: send a session token from POST /api/auth/login."""

    code = "token_required"


class TooManyMessages(ZmartdError):
    """Too many frames within a minute, including control frames; connect again later and send fewer."""

    code = "too_many_messages"

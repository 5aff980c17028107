"""What a WebSocket client is told when it is refused, or when a message of its cannot be acted upon."""

from __future__ import annotations

from zmartd.errors import ZmartdError


class UpgradeRequired(ZmartdError):
    """This is a WebSocket endpoint; connect to it with ws:// or wss://."""

    code = "upgrade_required"


class TooManyConnections(ZmartdError):
    """This address has as many WebSocket connections open as it may have; close one first."""

    code = "too_many_connections"


class InvalidMessage(ZmartdError):
    """Invalid message format: send one JSON object with an `action`, as text."""

    code = "invalid_message"


class UnknownAction(ZmartdError):
    """Unknown action; there are subscribe, unsubscribe, auth and pong."""

    code = "unknown_action"


class MarketIdRequired(ZmartdError):
    """market_id required: a market's id, its address, or "*" for all markets."""

    code = "market_id_required"


class TokenRequired(ZmartdError):
    """token required: a session token from POST /api/auth/login."""

    code = "token_required"


class TooManyMessages(ZmartdError):
    """Too many frames within a minute, control frames among them: connect again later and send fewer."""

    code = "too_many_messages"

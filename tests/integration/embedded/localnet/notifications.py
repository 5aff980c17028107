"""What solana-py's WebSocket client has received, one message at a time."""

from __future__ import annotations

from typing import TypeVar

from solana.rpc.websocket_api import SolanaWsClientProtocol

_Message = TypeVar("_Message")


async def received(socket: SolanaWsClientProtocol, kind: type[_Message]) -> _Message:
    """The next message. Fails the test when it is of another kind."""
    (message,) = await socket.recv()
    assert isinstance(message, kind), message
    return message

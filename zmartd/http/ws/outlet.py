"""The sending side of one aiohttp WebSocket, for frames that are encoded already."""

from __future__ import annotations

import asyncio
from asyncio import Transport

from aiohttp.web import WebSocketResponse

CLOSE_SECONDS = 3.0
"""How long a client may take to answer that the connection is closing."""


class TransportOutlet:
    """Writes to the connection's transport, past the response object, which frames one message at a time.

    The response writes whole uncompressed frames to the same transport, so the two do not mix.
    """

    def __init__(self, response: WebSocketResponse, transport: Transport) -> None:
        self._response = response
        self._transport = transport
        self._closing: asyncio.Task[bool] | None = None

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def buffered_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        if self._closing is None:
            closing = self._response.close(code=code, message=reason.encode())
            self._closing = asyncio.create_task(closing)
            self.release()

    def release(self) -> None:
        """Give the client time to take what is left, then let go of the connection.

        Without the latter a client that never reads would keep its unread frames in our memory.
        """
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

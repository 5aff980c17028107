"""The connection of one client that gets events: what the hub writes to it, as chunks of a response."""

from __future__ import annotations

import asyncio
from asyncio import BaseTransport, Transport
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final, cast

import msgspec

from zmartd.http.sse.event_ids import EventIds
from zmartd.http.ws.socket import limit_send_buffer
from zmartd.realtime.client import Client
from zmartd.realtime.close_codes import retry_of

RECONNECT_MILLISECONDS: Final = 1_000
"""When a client is to connect again that has lost its connection."""
CLOSE_SECONDS: Final = 3.0
"""How long a client may take to read what was written before the end."""
LOOK_SECONDS: Final = 1.0
"""How soon it is noticed that the client is gone, while there is nothing to send."""

_END = b"\n\n"
_DATA = b"data: "


def event(text: bytes) -> bytes:
    """The event with this frame, without its id. JSON has no line breaks."""
    return b"%b%b%b" % (_DATA, text, _END)


class EventStream:
    """Writes events, each with its id. The body of the response is `chunks`."""

    def __init__(self, transport: BaseTransport, ids: EventIds) -> None:
        self._transport = cast(Transport, transport)
        self._ids = ids
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._is_writing = False
        self._is_closed = False
        self._something = asyncio.Event()
        self._ended = asyncio.Event()
        limit_send_buffer(transport)

    @property
    def behind(self) -> bool:
        return bool(self._waiting) or self._is_writing or self._transport.get_write_buffer_size() > 0

    def buffered_bytes(self) -> int:
        return self._waiting_bytes + self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        if self._is_closed:
            return
        for block in data.removesuffix(_END).split(_END):
            event_id = self._ids.after(block.removeprefix(_DATA))
            first = b"" if event_id is None else b"id: %b\n" % event_id.encode()
            self._add(b"%b%b%b" % (first, block, _END))

    def close(self, code: int, reason: str) -> None:
        if self._is_closed:
            return
        retry = retry_of(reason)
        first = b"" if retry is None else b"retry: %d\n" % retry
        end = msgspec.json.encode({"type": "end", "data": {"code": code, "reason": reason}})
        self._add(first + event(end))
        self._is_closed = True
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    def end(self) -> None:
        """Nothing is sent any more."""
        self._is_closed = True
        self._ended.set()

    async def ended(self) -> None:
        """Return when everything has been sent after a close, or the client is gone."""
        while not self._transport.is_closing():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._ended.wait()
                    return

    async def chunks(self, client: Client) -> AsyncIterator[bytes]:
        """What is to be sent, until the stream is closed or the client is gone."""
        try:
            yield b"retry: %d\n\n" % RECONNECT_MILLISECONDS
            while self._waiting or not self._is_closed:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._something.wait()
                if self._transport.is_closing():
                    return
                self._something.clear()
                if self._waiting:
                    self._is_writing = True
                    data, self._waiting, self._waiting_bytes = b"".join(self._waiting), [], 0
                    yield data
                    self._is_writing = False
                if not self.behind:
                    client.catch_up()
        finally:
            self.end()

    def _add(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._something.set()

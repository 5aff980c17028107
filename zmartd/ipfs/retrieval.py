"""Pinned documents from wherever they are kept, and only if they are what their content id names."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Final

from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.ipfs.directory import Directory
from zmartd.ipfs.remote import Remote, RemoteFailed
from zmartd.log import get_logger
from zmartd.market import ids
from zmartd.task_settings import IpfsSnapshotSettings

log = get_logger(__name__)

MAX_GATEWAY_REQUESTS: Final = 4
"""At a time, for all callers: they cost the callers little."""
GATEWAY_SECONDS: Final = 10.0
"""How long a caller waits for a gateway, further attempts included."""
MAX_BYTES_BEING_SENT: Final = 67_108_864
"""Of documents that are not small, to all callers together. One request brings megabytes into memory, where
they stay until its sender has read them."""
SMALL_BYTES: Final = 65_536
"""What is verified in less time than it takes to ask a thread for it, and is as short as any answer."""


class DocumentUnreachable(ZmartdError):
    """The document with this content id cannot be had from where it is kept; try again in a moment."""

    code = "document_unreachable"


class Retrieval:
    """Reads documents from the database's row, the directory or the gateway, whichever has the right one."""

    def __init__(self, settings: IpfsSnapshotSettings, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._directory = Directory(Path(settings.directory)) if settings.directory else None
        self._gateway = (
            Remote(
                "gateway",
                settings.gateway_url,
                clock=clock,
                rng=rng,
                attempt_seconds=min(settings.attempt_seconds, GATEWAY_SECONDS),
            )
            if settings.gateway_url
            else None
        )
        self._turns = asyncio.Semaphore(MAX_GATEWAY_REQUESTS)
        self._bytes_being_sent = 0

    async def close(self) -> None:
        if self._gateway is not None:
            await self._gateway.close()

    def take_room(self, size: int) -> None:
        """Reserve memory for a document that is sent next. Raises DocumentUnreachable where there is none."""
        if size <= SMALL_BYTES:
            return
        if self._bytes_being_sent and self._bytes_being_sent + size > MAX_BYTES_BEING_SENT:
            raise DocumentUnreachable
        self._bytes_being_sent += size

    def give_room_back(self, size: int) -> None:
        """The document is sent, or will never be."""
        if size > SMALL_BYTES:
            self._bytes_being_sent -= size

    async def read(self, cid: str, size: int, stored: bytes | None) -> bytes | None:
        """The document `cid` of `size` bytes, of which the database has `stored`; None where it is kept
        nowhere that this daemon knows.

        Raises DocumentUnreachable where a gateway should have it and does not give it.
        """
        if stored is not None:
            if await _is(cid, stored):
                return stored
            log.error("ipfs.wrong_document", cid=cid, place="database")
        if self._directory is not None:
            found = await self._directory.read(cid, size)
            if found is not None and await _is(cid, found):
                return found
            if found is not None:
                log.error("ipfs.wrong_document", cid=cid, place="directory")
        return None if self._gateway is None else await self._from_gateway(self._gateway, cid, size)

    async def _from_gateway(self, gateway: Remote, cid: str, size: int) -> bytes:
        try:
            async with asyncio.timeout(GATEWAY_SECONDS), self._turns:
                until = self._clock.monotonic() + GATEWAY_SECONDS
                found = await gateway.call("GET", f"/ipfs/{cid}", until=until, max_bytes=size)
        except (RemoteFailed, TimeoutError) as error:
            raise DocumentUnreachable from error
        if not await _is(cid, found):
            gateway.count_failure("wrong document")
            log.error("ipfs.wrong_document", cid=cid, place="gateway")
            raise DocumentUnreachable
        return found


async def _is(cid: str, content: bytes) -> bool:
    if len(content) <= SMALL_BYTES:
        return ids.cid_v0(content) == cid
    return await asyncio.to_thread(ids.cid_v0, content) == cid

"""Finds the streams of subscriptions, by the names that clients give them, within a bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from zmartd.errors import ZmartdError
from zmartd.log import get_logger
from zmartd.realtime.followed import FollowedStreams
from zmartd.realtime.frames import Broadcast
from zmartd.realtime.messages import wallet_of
from zmartd.realtime.stream import Stream
from zmartd.realtime.subscription_errors import UnknownMarket, not_found
from zmartd.store.streams import StreamPosition

log = get_logger(__name__)


class StreamFinder:
    """Reads what is not in memory. It waits for the database for `turn_seconds`."""

    def __init__(self, streams: FollowedStreams, turn_seconds: float) -> None:
        self._streams = streams
        self._turn_seconds = turn_seconds

    async def find(
        self, name: str, since: StreamPosition | None
    ) -> tuple[Stream, Sequence[Broadcast] | None]:
        """A wallet's stream, or a market's with its snapshot; and what it has after `since`.

        Raises UnknownMarket, TimeoutError, and errors of the database.
        """
        async with asyncio.timeout(self._turn_seconds):
            while True:
                private = wallet_of(name) is not None
                stream = await (self._streams.find_wallet(name) if private else self._streams.find(name))
                if stream is None:
                    raise not_found(name)
                missed = None if since is None else await self._streams.replay(stream, since)
                if self._streams.follows(stream) and (private or stream.snapshot is not None):
                    return stream, missed

    async def find_all(self, channels: Mapping[str, StreamPosition | None]) -> dict[str, Stream | None]:
        """By name: the stream, with what follows its position if that can be had; None if it cannot be read
        now. Raises UnknownMarket.
        """
        found = {name: self._streams.at_hand(name, since) for name, since in channels.items()}
        if lacking := [name for name, stream in found.items() if stream is None]:
            read = await asyncio.gather(*(self._find_or_wait(name, channels[name]) for name in lacking))
            found.update(zip(lacking, read, strict=True))
        return found

    async def looked(self) -> None:
        """Return once nothing can be missed of any market. Raises TimeoutError, errors of the database."""
        async with asyncio.timeout(self._turn_seconds):
            await self._streams.looked()

    async def _find_or_wait(self, name: str, since: StreamPosition | None) -> Stream | None:
        try:
            stream, _ = await self.find(name, since)
        except UnknownMarket:
            raise
        except (ZmartdError, TimeoutError) as error:
            log.warning("realtime.snapshot_failed", name=name, reason=repr(error))
            return None
        return stream

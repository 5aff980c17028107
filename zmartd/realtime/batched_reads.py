"""Many callers' reads of single things, as few queries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class BatchedReads(Generic[Key, Value]):
    """Reads what is asked for while a read is in progress together in the next one.

    At most one read is in progress, of at most `limit` keys. Nobody gets the result of a read that began
    before it asked. `pause_seconds`: how long after a read the next one begins, so that more share it.
    """

    def __init__(
        self,
        read: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]],
        limit: int,
        *,
        pause_seconds: float = 0.0,
    ) -> None:
        self._read = read
        self._pause_seconds = pause_seconds
        self._limit = limit
        self._wanted: dict[Key, asyncio.Future[Value | None]] = {}
        self._worker: asyncio.Task[None] | None = None

    async def get(self, key: Key) -> Value | None:
        """What there is for `key`, if anything. Raises what the read raises."""
        future = self._wanted.get(key)
        if future is None:
            future = self._wanted[key] = asyncio.get_running_loop().create_future()
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name="batched reads")
        return await asyncio.shield(future)

    async def _work(self) -> None:
        try:
            await asyncio.sleep(0)  # for whoever asks in the same turn of the event loop
            while self._wanted:
                keys = list(self._wanted)[: self._limit]
                batch = {key: self._wanted.pop(key) for key in keys}
                await self._run(batch)
                if self._pause_seconds:
                    await asyncio.sleep(self._pause_seconds)
        finally:
            self._worker = None

    async def _run(self, batch: Mapping[Key, asyncio.Future[Value | None]]) -> None:
        try:
            found = await self._read(list(batch))
        except BaseException as error:
            for future in batch.values():
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                    future.exception()  # whoever asked may be gone
            if not isinstance(error, Exception):
                raise
            return
        for key, future in batch.items():
            if not future.done():
                future.set_result(found.get(key))

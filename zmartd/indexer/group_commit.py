"""One commit for everybody who is waiting: what makes many small durable writes cheap."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class GroupCommit(Generic[Item]):
    """Hands all items that came in during one commit to the next one.

    Nobody waits for a timer: a lone item is committed at once, and under load each commit takes along
    whatever arrived while the one before it was on its way to the disk.
    """

    def __init__(
        self, commit: Callable[[list[Item]], Awaitable[None]], max_items: int, burst_items: int
    ) -> None:
        """`commit` makes a batch durable or raises; it is never called twice at the same time.

        `calm` is set, except while at least `burst_items` at a time are being committed or wait for it.
        """
        self.calm = asyncio.Event()
        self.calm.set()
        self._commit = commit
        self._max_items = max_items
        self._burst_items = burst_items
        self._waiting: list[tuple[Item, asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None

    async def add(self, item: Item) -> None:
        """Return once `item` is durable. Raises what the commit of its batch raised."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._running is None:
            self._running = asyncio.create_task(self._drain(), name="group-commit")
        await done

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._max_items], self._waiting[self._max_items :]
                await self._commit_batch(batch)
                # Both count: who was just answered returns while the next, perhaps small one is on its way.
                if len(batch) + len(self._waiting) < self._burst_items:
                    self.calm.set()
                else:
                    self.calm.clear()
        finally:
            self._running = None
            self.calm.set()

    async def _commit_batch(self, batch: list[tuple[Item, asyncio.Future[None]]]) -> None:
        try:
            await self._commit([item for item, _ in batch])
        except Exception as error:
            for _, done in batch:
                if not done.done():
                    done.set_exception(error)
        except asyncio.CancelledError:
            for _, done in batch:
                done.cancel()
            raise
        else:
            for _, done in batch:
                if not done.done():
                    done.set_result(None)

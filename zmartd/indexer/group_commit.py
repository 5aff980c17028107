"""Group commit: one commit for all writers that wait, which makes many small durable writes cheap."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Generic, TypeVar

Item = TypeVar("Item")


class GroupCommit(Generic[Item]):
    """Commits all items that arrived during one commit in the next one.

    There is no timer: a single item is committed at once, and under load each commit takes the items that
    arrived during the one before it.
    """

    def __init__(
        self,
        commit: Callable[[list[Item]], Awaitable[None]],
        max_items: int,
        burst_items: int,
        calm_seconds: float,
    ) -> None:
        """`commit` makes a batch durable or raises; calls never overlap.

        The event `calm` is cleared during a burst: from a commit after which the committed and the waiting
        items are at least `burst_items`, until `calm_seconds` have passed without another such commit. A
        short queue alone does not end a burst, since answered clients need a moment to send again.
        """
        self.calm = asyncio.Event()
        self.calm.set()
        self._commit = commit
        self._max_items = max_items
        self._burst_items = burst_items
        self._calm_seconds = calm_seconds
        self._calming: asyncio.TimerHandle | None = None
        self._waiting: list[tuple[Item, asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None

    async def add(self, item: Item) -> None:
        """Return once `item` is durable. Raises what the commit of its batch raised."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._running is None:
            self._running = asyncio.create_task(
                self._drain(),
                name="group-commit",
                context=Context(),  # what it logs is not of the one request that began it
            )
        await done

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._max_items], self._waiting[self._max_items :]
                await self._commit_batch(batch)
                # Committed items count, too: their senders may send again while the next batch is small.
                if len(batch) + len(self._waiting) >= self._burst_items:
                    self._extend_burst()
        finally:
            self._running = None

    def _extend_burst(self) -> None:
        self.calm.clear()
        if self._calming is not None:
            self._calming.cancel()
        self._calming = asyncio.get_running_loop().call_later(self._calm_seconds, self.calm.set)

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

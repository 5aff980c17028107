"""How much one run may ask the node about voters: so many requests, for so long, and so many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from zmartd.chain.rpc import ACCOUNTS_PER_REQUEST
from zmartd.clock import Clock
from zmartd.errors import ZmartdError

AT_ONCE: Final = 8

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class RequestsSpent(ZmartdError):
    """There are more voters than a run asks the node about: raise tasks.vote_aggregator.requests_per_run."""

    code = "requests_spent"


class NodeRequests:
    """The requests that a run has left. What has begun is finished, so that it may take a few more."""

    def __init__(self, limit: int, clock: Clock, seconds: float) -> None:
        """None are left after so many `seconds`: a run has more to do than to ask."""
        self._left = limit
        self._clock = clock
        self._until = clock.monotonic() + seconds
        self._turns = asyncio.Semaphore(AT_ONCE)

    @property
    def left(self) -> int:
        return max(self._left, 0) if self._clock.monotonic() < self._until else 0

    def take(self, requests: int) -> None:
        self._left -= requests

    async def in_chunks(
        self,
        items: Sequence[Item],
        ask: Callable[[Sequence[Item]], Awaitable[Answer]],
        size: int = ACCOUNTS_PER_REQUEST,
    ) -> list[Answer]:
        """The answers to `ask` for each `size` of these items, each one request."""
        chunks = [items[start : start + size] for start in range(0, len(items), size)]
        self.take(len(chunks))

        async def asked(chunk: Sequence[Item]) -> Answer:
            async with self._turns:
                return await ask(chunk)

        return await asyncio.gather(*map(asked, chunks))

"""Responses that are made when they are first asked for, and kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from zmartd.http.kit.etags import TaggedResponse


class LazyResponse:
    """What `make` returns. It is called in a thread, because it may take a tenth of a second."""

    def __init__(self, make: Callable[[], TaggedResponse]) -> None:
        self._make = make
        self.made: TaggedResponse | None = None
        """None before the first request."""

    async def get(self) -> TaggedResponse:
        if self.made is None:
            self.made = await asyncio.to_thread(self._make)
        return self.made

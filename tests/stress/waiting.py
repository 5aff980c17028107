"""Waiting for what others do, never longer than a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

_POLL_SECONDS = 0.05


async def until(look: Callable[[], Awaitable[bool]], seconds: float, otherwise: str) -> None:
    """Return when `look` is true. Raises TimeoutError with `otherwise`."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                if await look():
                    return
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise TimeoutError(f"{otherwise} within {seconds:g} s") from None

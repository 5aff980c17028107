"""The positions of wallets that have many of them, so that only what has changed of them is read again."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from aiohttp import web
from msgspec import Struct

from zmartd.clock import Clock
from zmartd.store import known_positions
from zmartd.store.known_positions import KnownPositions
from zmartd.store.positions import Holdings
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.rls import Caller
from zmartd.store.raw_positions import KEPT

LEAST: Final = 50
"""A wallet with fewer positions is read anew."""
MAX_SECONDS: Final = 60.0
"""How long positions are known: ids of transactions say nothing any more after two billion others."""


class _Entry(Struct, frozen=True):
    known: KnownPositions
    read_at: float


class PositionMemory:
    """The positions of the wallets that asked last, at most KEPT of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._positions = 0

    async def read(self, database: Database, wallet: str) -> Holdings:
        """All positions of a wallet as they are now, the last traded first."""
        begun, entry = self._clock.monotonic(), self._entries.get(wallet)
        known = None if entry is None or begun - entry.read_at > MAX_SECONDS else entry.known
        async with database.reader(Caller(wallet)) as connection:
            found = await known_positions.read(connection, wallet, known)
        self._forget(wallet)
        if LEAST <= len(found.by_market) <= KEPT:
            self._entries[wallet] = _Entry(found, begun)
            self._positions += len(found.by_market)
            while self._positions > KEPT:
                self._forget(next(iter(self._entries)))
        return found.holdings

    def _forget(self, wallet: str) -> None:
        entry = self._entries.pop(wallet, None)
        if entry is not None:
            self._positions -= len(entry.known.by_market)


POSITION_MEMORY: Final[web.AppKey[PositionMemory]] = web.AppKey("position_memory")

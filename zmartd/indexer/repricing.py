"""The background work of `zmartd.indexer.effects.repricing`: trades that were left to be priced anew."""

from __future__ import annotations

from zmartd.cancellation import is_being_cancelled
from zmartd.clock import Clock
from zmartd.indexer.apply import Indexer

LOOK_SECONDS = 10.0
"""How often a daemon looks whether there is something to do."""


class Repricer:
    """Prices trades anew as long as some are left. `run` has to be running."""

    def __init__(self, indexer: Indexer, clock: Clock) -> None:
        self._indexer = indexer
        self._clock = clock

    async def run(self) -> None:
        """Do steps until cancelled. Daemons that do so at once share them.

        Raises what `Indexer.apply` raises.
        """
        while not is_being_cancelled():
            if not await self._indexer.reprice():
                await self._clock.sleep(LOOK_SECONDS)

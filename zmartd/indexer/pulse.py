"""Raises the pulse, one daemon at a time: that the indexer commits, and up to which slot it lacks nothing.

Each pulse is a commit. Every other one also asks the node for its newest slot and for the program's newest
transactions, and looks in the index for those. A transaction without events is never in the index before it
is final, so one that is missing for long is fetched: anybody can mention the program in such a one.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Sequence

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.cancellation import is_being_cancelled
from zmartd.chain.answers import SignatureInfo
from zmartd.chain.rpc import Rpc
from zmartd.clock import Clock
from zmartd.errors import ZmartdError
from zmartd.indexer.apply import Indexer, is_eventless
from zmartd.indexer.events.recording import indexed_slots, known_signatures
from zmartd.indexer.fetch import Fetcher
from zmartd.log import get_logger
from zmartd.store import parked, pulses
from zmartd.store.postgres.database import Database
from zmartd.store.pulses import ChainProgress

PULSE_SECONDS = 2.0
LOOK_SECONDS = 0.5
"""How often a daemon looks whether it has to raise the pulse; up to half of it is added by chance."""
ASK_SECONDS = 3.0
"""How old a node's answer is when it is asked again."""
PATIENCE_SECONDS = 1.0
"""How long a pulse waits for the node, and for a connection to the database."""
MAX_LISTED = 1_000
"""Newest transactions of the program that are looked for in the index."""
MAX_FETCHED = 20
"""Missing transactions that are fetched between two pulses."""
MAX_EVENTLESS = 10_000

log = get_logger(__name__)


class _Answer(Struct, frozen=True):
    """What a node told, and the transactions that the index lacked then."""

    progress: ChainProgress
    missing: frozenset[str]


class PulseWriter:
    """Raises the pulse when no other daemon does. `run` has to be running."""

    def __init__(
        self,
        *,
        rpc: Rpc,
        program_id: Pubkey,
        database: Database,
        indexer: Indexer,
        fetcher: Fetcher,
        clock: Clock,
        jitter: random.Random,
    ) -> None:
        self._rpc = rpc
        self._program_id = program_id
        self._database = database
        self._indexer = indexer
        self._fetcher = fetcher
        self._clock = clock
        self._jitter = jitter
        self._eventless: OrderedDict[str, None] = OrderedDict()
        """Signatures of transactions that will never have an event in the index."""
        self._missing: frozenset[str] = frozenset()
        """What the index lacked when the node was last asked."""
        self._until: str | None = None
        """The newest transaction when it lacked nothing."""

    async def run(self) -> None:
        """Raise the pulse again and again until cancelled. What fails is tried again."""
        works = True
        while not is_being_cancelled():
            try:
                await self._take_turn()
            except (ZmartdError, TimeoutError) as error:
                if works:
                    log.warning("pulse.failed", reason=str(error) or type(error).__name__)
                works = False
            else:
                works = True
            await self._clock.sleep(LOOK_SECONDS * (1 + self._jitter.random() / 2))

    async def _take_turn(self) -> None:
        async with self._database.service_reader() as connection:
            newest_seconds = await pulses.due(connection, PULSE_SECONDS)
        if newest_seconds is None:
            return
        progress = None
        if newest_seconds >= ASK_SECONDS:
            answer = await self._ask()
            if answer is not None:
                progress, self._missing = answer.progress, answer.missing
        await self._indexer.pulse(PULSE_SECONDS, progress)

    async def _ask(self) -> _Answer | None:
        """What a node says; None where it does not answer in time."""
        plausibility = self._fetcher.plausibility
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                # In this order, so that what is listed reaches beyond the newest slot.
                await plausibility.refresh()
                listed = await self._rpc.signatures_for_address(
                    self._program_id, until=self._until, limit=MAX_LISTED
                )
        except (ZmartdError, TimeoutError) as error:
            log.debug("pulse.unanswered", reason=str(error) or type(error).__name__)
            return None
        newest = plausibility.newest
        missing = await self._without_eventless(await self._lacking(listed))
        oldest = min(missing, key=lambda one: one.slot, default=None)
        if oldest is not None and oldest.slot <= newest.slot:
            time = oldest.block_time or newest.unix_timestamp
            progress = ChainProgress(newest.slot, oldest.slot - 1, time)
        else:
            progress = ChainProgress(newest.slot, newest.slot, newest.unix_timestamp)
        if listed and not missing:
            self._until = listed[0].signature
        return _Answer(progress, frozenset(one.signature for one in missing))

    async def _lacking(self, listed: Sequence[SignatureInfo]) -> list[SignatureInfo]:
        """Those that succeeded and of which the index has nothing, without what waits for an operator."""
        expected = [one for one in listed if one.err is None and one.signature not in self._eventless]
        if not expected:
            return []
        signatures = [one.signature for one in expected]
        async with self._database.service() as connection:
            known = await known_signatures(connection, signatures)
            known |= {one.signature for one in await indexed_slots(connection, signatures)}
            known |= (await parked.slots(connection, signatures)).keys()
        return [one for one in expected if one.signature not in known]

    async def _without_eventless(self, missing: Sequence[SignatureInfo]) -> list[SignatureInfo]:
        """Those of them that have events, or that were not missing when the node was asked before."""
        long = [one.signature for one in missing if one.signature in self._missing][-MAX_FETCHED:]
        if long:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    fetched = await self._fetcher.fetch(long)
            except (ZmartdError, TimeoutError):
                return list(missing)
            for transaction in fetched.transactions:
                if is_eventless(transaction):
                    self._eventless[transaction.signature] = None
            while len(self._eventless) > MAX_EVENTLESS:
                self._eventless.popitem(last=False)
        return [one for one in missing if one.signature not in self._eventless]

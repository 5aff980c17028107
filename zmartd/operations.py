"""What an operator does to the index from the command line: each opens what it needs, and closes it."""

from __future__ import annotations

from collections.abc import Sequence

from zmartd.clock import SystemClock
from zmartd.config import Settings
from zmartd.core import Core, open_core
from zmartd.indexer import audit as auditing
from zmartd.indexer import replay as replaying
from zmartd.indexer.audit import AuditReport
from zmartd.indexer.backfill import Backfilled, Progress, backfill, unheard
from zmartd.indexer.readmission import Readmission, readmit
from zmartd.indexer.repair import Repair, Repairer
from zmartd.indexer.replay import ReplayReport
from zmartd.indexer.stretch import Stretch, Survey
from zmartd.store import inbox, unverified
from zmartd.store.inbox import ParkedDelivery
from zmartd.store.postgres.database import Database
from zmartd.store.unverified import UnverifiedTransaction

_MOST_LISTED = 1_000


async def audit(settings: Settings) -> AuditReport:
    """Compare the index with the chain. Raises what opening a core raises, and UndecodableData."""
    async with open_core(settings, SystemClock()) as core:
        return await auditing.audit(core.database, core.rpc, core.idl.program_id)


async def repair(settings: Settings, progress: Progress = unheard) -> Repair:
    """Make everything that differs equal to the chain again, and audit what that gives."""
    async with open_core(settings, SystemClock()) as core:
        return await _repairer(core).repair(progress)


async def repair_everything(settings: Settings, progress: Progress = unheard) -> Repair:
    """Make the whole index equal to the chain again, and audit what that gives."""
    async with open_core(settings, SystemClock()) as core:
        return await _repairer(core).repair_everything(progress)


def _repairer(core: Core) -> Repairer:
    return Repairer(core.rpc, core.fetcher, core.database, core.idl.program_id)


async def replay(settings: Settings, progress: Progress = unheard) -> ReplayReport:
    """Replay the program's history into a database made for it, and compare the tables."""
    async with open_core(settings, SystemClock()) as core:
        return await replaying.replay(
            core.database,
            settings.database,
            rpc=core.rpc,
            program_id=core.idl.program_id,
            parse=core.parse,
            progress=progress,
        )


async def fill(settings: Settings, stretch: Stretch, progress: Progress = unheard) -> Backfilled:
    """Apply what the index lacks of a stretch of the program's history."""
    async with open_core(settings, SystemClock()) as core:
        survey = await Survey(core.rpc, core.idl.program_id, stretch).look()
        return await backfill(core.database, core.fetcher, survey, progress)


async def readmit_quarantined(settings: Settings) -> Readmission:
    """Apply the quarantined lines that the present IDL explains."""
    async with open_core(settings, SystemClock()) as core:
        return await readmit(core.database, core.fetcher, core.codec)


async def parked(settings: Settings) -> tuple[ParkedDelivery, ...]:
    """The deliveries that were given up, oldest first. Needs only the database."""
    database = await Database.connect(settings.database)
    try:
        async with database.service() as connection:
            return await inbox.parked(connection, _MOST_LISTED)
    finally:
        await database.close()


async def unverified_transactions(settings: Settings) -> tuple[UnverifiedTransaction, ...]:
    """Delivered transactions that were not believed and have not been settled. Needs only the database."""
    database = await Database.connect(settings.database)
    try:
        async with database.service() as connection:
            return await unverified.listed(connection, _MOST_LISTED)
    finally:
        await database.close()


async def requeue(settings: Settings, deliveries: Sequence[int] | None) -> tuple[int, ...]:
    """Put parked deliveries, or all of them, back in the queue; the ids of those that were parked.

    A running daemon works them off within seconds.
    """
    database = await Database.connect(settings.database)
    try:
        async with database.service() as connection:
            if deliveries is None:
                return await inbox.replay_all(connection)
            return await inbox.replay(connection, deliveries)
    finally:
        await database.close()

"""The index against the chain: missing transactions, finality, reorgs and truncated logs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.answers import SignatureInfo
from zmartd.chain.rpc import Rpc
from zmartd.faults import Point, reached
from zmartd.indexer.events.incomplete import (
    IncompleteTransaction,
    unverified_truncated,
    verify_truncated,
)
from zmartd.indexer.events.recording import TransactionInSlot, indexed_slots
from zmartd.indexer.fetch import Fetched, Fetcher
from zmartd.indexer.parking import apply_each, park, roll_back_each
from zmartd.indexer.plausibility import IMPOSSIBLE_SLOTS
from zmartd.indexer.reconcile.reorgs import ReorgCheck
from zmartd.indexer.retry import ParkedRetry
from zmartd.indexer.truncation.recovery import RecoveryReport, TruncationRecovery
from zmartd.indexer.verification import Verification
from zmartd.indexer.walks.backfill import apply_listed, batches
from zmartd.indexer.walks.checkpointed import CheckpointedWalk
from zmartd.log import get_logger
from zmartd.store import checkpoints, parked
from zmartd.store.checkpoints import Checkpoint
from zmartd.store.parked import Unapplied
from zmartd.store.postgres.database import Database
from zmartd.task_settings import ReconcilerSettings

_MAX_FETCHED = ReconcilerSettings().max_fetched_per_run

log = get_logger(__name__)


class ReconcileReport(Struct, frozen=True):
    """The signatures walked over, the transactions that were missing, and the events that these added."""

    signatures: int
    missing: int
    new_events: int
    promoted: int
    """Transactions that became final."""
    rolled_back: int
    """Transactions that the chain does not have, or has otherwise than the index had them."""
    recovered: int
    """Transactions with truncated logs whose events are complete."""
    parked: int
    """Transactions that could not be read or applied so far, of this run and of those before."""
    slot: int | None
    """The checkpoint's: up to this slot nothing is missing but what is parked. None before there is one."""
    incomplete: tuple[IncompleteTransaction, ...] = ()
    """Transactions with truncated logs of which an operator has to know."""


class _BatchDiff(Struct, frozen=True):
    """What to fetch of a batch of signatures, and what to roll back."""

    wanted: tuple[SignatureInfo, ...]
    lost: tuple[TransactionInSlot, ...]


class _BatchReport(Struct, frozen=True):
    missing: int
    new_events: int
    rolled_back: int
    complete: bool


class IndexReconciler:
    """Makes the index have the program's transactions as the chain has them, from the checkpoint on."""

    def __init__(
        self,
        rpc: Rpc,
        fetcher: Fetcher,
        database: Database,
        program_id: Pubkey,
        max_fetched: int = _MAX_FETCHED,
    ) -> None:
        """`max_fetched` is about how many indexed transactions one run compares with the chain."""
        self._fetcher = fetcher
        self._database = database
        self._program_id = program_id
        self._walk = CheckpointedWalk(rpc, database, program_id)
        self._reorgs = ReorgCheck(rpc, fetcher, database, program_id, max_fetched)
        self._verification = Verification(rpc, fetcher, database)
        self._retry = ParkedRetry(rpc, fetcher, database, program_id)
        self._recovery = TruncationRecovery(rpc, fetcher, database, program_id)

    async def run(self) -> ReconcileReport:
        """Retry parked transactions, check finality and reorgs, apply missing ones, verify implausible ones,
        recover truncated.

        The checkpoint stops at finalized transactions: those that can still disappear are checked again in
        the next run. A run that is stopped loses only the work since its last batch. Daemons that run this at
        the same time only repeat work. Raises RpcUnavailable, RpcRejected, DatabaseUnavailable.
        """
        signatures = missing = rolled_back = 0
        complete = True
        await self._fetcher.plausibility.refresh()
        await self._reset_impossible_checkpoint()
        # What can be read again is compared with what was delivered of it.
        new_events = (await self._retry.run()).new_events
        reorgs = await self._reorgs.run()
        async with aclosing(self._walk.pages()) as pages:
            async for page in pages:
                for batch in batches(page):
                    report = await self._reconcile(batch)
                    await reached(Point.RECONCILER_REPAIRED)
                    signatures += len(batch)
                    missing += report.missing
                    new_events += report.new_events
                    rolled_back += report.rolled_back
                    complete = complete and report.complete
                    if complete:
                        await self._advance(batch)
                if not complete:
                    break
        await self._verification.run()
        async with self._database.service() as connection:
            checkpoint = await checkpoints.find(connection, str(self._program_id))
            parked_now = sum((await parked.counts(connection)).values())
        recovery = await self._recovery.run(checkpoint.slot) if checkpoint else RecoveryReport()
        return ReconcileReport(
            signatures,
            missing,
            new_events + recovery.new_events,
            reorgs.promoted,
            rolled_back + reorgs.rolled_back,
            recovery.resolved,
            parked_now,
            checkpoint.slot if checkpoint else None,
            recovery.incomplete,
        )

    async def _reset_impossible_checkpoint(self) -> None:
        """Restart from the beginning if a wrong answer of a node once moved the checkpoint into the future.

        Such a checkpoint would never move again.
        """
        async with self._database.service() as connection:
            checkpoint = await checkpoints.find(connection, str(self._program_id))
            if checkpoint is None or not self._fetcher.plausibility.is_future(
                checkpoint.slot - IMPOSSIBLE_SLOTS
            ):
                return
            log.warning(
                "reconciler.impossible_checkpoint", slot=checkpoint.slot, signature=checkpoint.signature
            )
            await checkpoints.reset(connection, str(self._program_id))

    async def _reconcile(self, batch: Sequence[SignatureInfo]) -> _BatchReport:
        """Make the index have the transactions of a batch as the chain has them.

        What cannot be read or applied is parked. The checkpoint may pass it because it is.
        """
        diff = await self._diff(batch)
        fetched = await self._fetcher.fetch([info.signature for info in diff.wanted])
        await park(self._database, fetched.unapplied({info.signature: info.slot for info in batch}))
        not_found = set(fetched.not_found)
        lost = [one for one in diff.lost if one.signature not in not_found]
        moved = {one.signature for one in lost}
        elsewhere = [tx for tx in fetched.transactions if tx.signature in moved]
        await roll_back_each(self._database, self._fetcher.indexer, lost, elsewhere)
        missing = [tx for tx in fetched.transactions if tx.signature not in moved]
        done = await apply_listed(self._fetcher.indexer, missing, batch)
        withheld = self._withheld(fetched, diff.wanted)
        await park(self._database, (*done.failed, *withheld))
        await self._verify_truncated(batch)
        return _BatchReport(
            missing=len(missing) - len(done.failed),
            new_events=done.new_events,
            rolled_back=len(lost),
            complete=not_found == {one.signature for one in withheld}
            # A checkpoint that followed a node into the future would stay there.
            and not await self._fetcher.plausibility.is_certainly_future(max(info.slot for info in batch)),
        )

    async def _verify_truncated(self, batch: Sequence[SignatureInfo]) -> None:
        """Verify the final transactions of a batch that are truncated by what a delivery says.

        Recovery minds verified ones alone, so none must be left unverified when the checkpoint passes it. One
        that the node lists and does not give stays truncated.
        """
        final = [
            TransactionInSlot(info.slot, info.signature)
            for info in batch
            if info.err is None and info.confirmation_status == "finalized"
        ]
        async with self._database.service() as connection:
            told = await unverified_truncated(connection, final)
        if not told:
            return
        fetched = await self._fetcher.fetch([one.signature for one in told])
        done = await apply_each(self._fetcher.indexer, fetched.transactions, "finalized")
        await park(self._database, done.failed)
        not_given = [one for one in told if one.signature in fetched.not_found]
        async with self._database.service() as connection:
            await verify_truncated(connection, not_given)

    def _withheld(self, fetched: Fetched, wanted: Sequence[SignatureInfo]) -> list[Unapplied]:
        """Transactions that the node lists, and of which it still has nothing an hour later."""
        not_found = set(fetched.not_found)
        return [
            Unapplied(info.signature, info.slot, "withheld", "the node lists it and does not have it")
            for info in wanted
            if info.signature in not_found and self._fetcher.plausibility.is_past(info.slot)
        ]

    async def _diff(self, batch: Sequence[SignatureInfo]) -> _BatchDiff:
        async with self._database.service() as connection:
            indexed = await indexed_slots(connection, [info.signature for info in batch])
        slots = {one.signature: one.slot for one in indexed}
        listed = {info.signature: info for info in batch}
        lost = [
            one
            for one in indexed
            if listed[one.signature].slot != one.slot or listed[one.signature].err is not None
        ]
        return _BatchDiff(
            wanted=tuple(
                info for info in batch if info.err is None and slots.get(info.signature) != info.slot
            ),
            lost=tuple(lost),
        )

    async def _advance(self, batch: Sequence[SignatureInfo]) -> None:
        """Move the checkpoint to the last finalized transaction of a batch, if it has one."""
        final = [info for info in batch if info.confirmation_status == "finalized"]
        if not final:
            return
        async with self._database.service() as connection:
            await checkpoints.advance(
                connection, str(self._program_id), Checkpoint(final[-1].signature, final[-1].slot)
            )
        await reached(Point.RECONCILER_ADVANCED)

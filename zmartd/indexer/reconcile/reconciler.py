"""The index against the chain: what no webhook brought, what became final, and what is no longer there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import aclosing

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd import config
from zmartd.chain.answers import SignatureInfo
from zmartd.chain.pdas import Pdas
from zmartd.chain.rpc import Rpc
from zmartd.chain.transactions import ChainTransaction
from zmartd.faults import Point, reached
from zmartd.indexer.events.recording import TransactionInSlot, indexed_slots
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.plausibility import IMPOSSIBLE_SLOTS
from zmartd.indexer.reconcile.reorgs import ReorgCheck
from zmartd.indexer.truncation.recovery import RecoveryReport, TruncationRecovery
from zmartd.indexer.verification import Verification
from zmartd.indexer.walks.checkpointed import CheckpointedWalk
from zmartd.log import get_logger
from zmartd.store import checkpoints
from zmartd.store.checkpoints import Checkpoint
from zmartd.store.postgres.database import Database

_MOST_FETCHED = config.Reconciler().max_fetched_per_run
_BATCH = 100

log = get_logger(__name__)


class ReconcileReport(Struct, frozen=True):
    """What was found: signatures looked at, transactions that were missing, and their new events."""

    signatures: int
    missing: int
    new_events: int
    promoted: int
    """Transactions in the index that are final now."""
    rolled_back: int
    """Transactions in the index that were not on the chain as it had them, and were taken back."""
    recovered: int
    """Transactions with truncated logs that are whole now."""
    slot: int | None
    """Up to which nothing is missing; None before anything was found."""


class _Found(Struct, frozen=True):
    """What is to be done about a batch of the history."""

    wanted: tuple[SignatureInfo, ...]
    lost: tuple[TransactionInSlot, ...]


class _Repaired(Struct, frozen=True):
    missing: int = 0
    new_events: int = 0
    rolled_back: int = 0
    complete: bool = True


class IndexReconciler:
    """Compares a program's history on the chain with the index, from where the last walk ended."""

    def __init__(
        self,
        rpc: Rpc,
        fetcher: Fetcher,
        database: Database,
        program_id: Pubkey,
        most_fetched: int = _MOST_FETCHED,
    ) -> None:
        """`most_fetched` bounds how many transactions one run compares with the chain, about."""
        self._fetcher = fetcher
        self._database = database
        self._program_id = program_id
        self._history = CheckpointedWalk(rpc, database, program_id)
        self._finality = ReorgCheck(rpc, fetcher, database, Pdas(program_id), most_fetched)
        self._verification = Verification(rpc, fetcher, database)
        self._restoration = TruncationRecovery(rpc, fetcher, database, program_id)

    async def run(self) -> ReconcileReport:
        """Settle what is final and what is gone; then fetch and apply what is missing, the oldest first, and
        what was not believed or not told in full.

        The cursor stops at finalized transactions: what can still disappear is looked at again. Being stopped
        in between loses only the work since the last batch. Several daemons that do this at once do it twice,
        and nothing else. Raises RpcUnavailable, RpcRejected, DatabaseUnavailable.
        """
        signatures = missing = new_events = rolled_back = 0
        complete = True
        await self._fetcher.plausibility.refresh()
        await self._forget_impossible_cursor()
        settled = await self._finality.run()
        async with aclosing(self._history.pages()) as pages:
            async for page in pages:
                for batch in _batches(page):
                    repaired = await self._repair(batch)
                    await reached(Point.RECONCILER_REPAIRED)
                    signatures += len(batch)
                    missing += repaired.missing
                    new_events += repaired.new_events
                    rolled_back += repaired.rolled_back
                    complete = complete and repaired.complete
                    if complete:
                        await self._advance(batch)
                if not complete:
                    break
        await self._verification.run()
        async with self._database.service() as connection:
            stands = await checkpoints.find(connection, str(self._program_id))
        recovered = await self._restoration.run(stands.slot) if stands else RecoveryReport()
        return ReconcileReport(
            signatures,
            missing,
            new_events + recovered.new_events,
            settled.promoted,
            rolled_back + settled.rolled_back,
            recovered.resolved,
            stands.slot if stands else None,
        )

    async def _forget_impossible_cursor(self) -> None:
        """A cursor that a node once moved into the future would never move again: walk from the beginning."""
        async with self._database.service() as connection:
            stands = await checkpoints.find(connection, str(self._program_id))
            if stands is not None and self._fetcher.plausibility.is_future(stands.slot - IMPOSSIBLE_SLOTS):
                log.warning("reconciler.impossible_cursor", slot=stands.slot, signature=stands.signature)
                await checkpoints.reset(connection, str(self._program_id))

    async def _repair(self, batch: Sequence[SignatureInfo]) -> _Repaired:
        """Make the index have these transactions as the chain has them."""
        found = await self._compare(batch)
        fetched = await self._fetcher.fetch([info.signature for info in found.wanted])
        waiting = set(fetched.not_found)
        lost = [one for one in found.lost if one.signature not in waiting]
        moved = {one.signature for one in lost}
        indexer = self._fetcher.indexer
        if lost:
            await indexer.roll_back(lost, [tx for tx in fetched.transactions if tx.signature in moved])
        final = {info.signature for info in batch if info.confirmation_status == "finalized"}
        new_events = 0
        for commitment, part in _by_commitment(fetched.transactions, final, moved):
            new_events += (await indexer.apply(part, commitment)).new_events
        return _Repaired(
            missing=sum(tx.signature not in moved for tx in fetched.transactions),
            new_events=new_events,
            rolled_back=len(lost),
            complete=not waiting
            # A cursor that followed the node into the future would stay there.
            and not await self._fetcher.plausibility.is_certainly_future(max(info.slot for info in batch)),
        )

    async def _compare(self, batch: Sequence[SignatureInfo]) -> _Found:
        async with self._database.service() as connection:
            indexed = await indexed_slots(connection, [info.signature for info in batch])
        slots = {one.signature: one.slot for one in indexed}
        told = {info.signature: info for info in batch}
        lost = [
            one
            for one in indexed
            if told[one.signature].slot != one.slot or told[one.signature].err is not None
        ]
        return _Found(
            wanted=tuple(
                info for info in batch if info.err is None and slots.get(info.signature) != info.slot
            ),
            lost=tuple(lost),
        )

    async def _advance(self, batch: Sequence[SignatureInfo]) -> None:
        final = [info for info in batch if info.confirmation_status == "finalized"]
        if not final:
            return
        async with self._database.service() as connection:
            await checkpoints.advance(
                connection, str(self._program_id), Checkpoint(final[-1].signature, final[-1].slot)
            )
        await reached(Point.RECONCILER_ADVANCED)


def _by_commitment(
    transactions: Sequence[ChainTransaction], final: set[str], moved: set[str]
) -> Iterator[tuple[str, list[ChainTransaction]]]:
    """Missing transactions in at most two parts; those that moved are not among them."""
    for commitment in ("finalized", "confirmed"):
        part = [
            tx
            for tx in transactions
            if tx.signature not in moved and (tx.signature in final) == (commitment == "finalized")
        ]
        if part:
            yield commitment, part


def _batches(page: Sequence[SignatureInfo]) -> Iterator[Sequence[SignatureInfo]]:
    return (page[start : start + _BATCH] for start in range(0, len(page), _BATCH))

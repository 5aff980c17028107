"""Tries parked transactions again: asks where they are, fetches them, and applies what can be applied now.

What is applied is no longer parked; nor is what failed after all, or has left the chain. Everything else
waits for the next attempt, longer each time.

What was delivered of a transaction before it was parked cannot be verified. It stays in the index until the
first attempt that fails although the transaction is final; what the node then gives takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from solders.commitment_config import CommitmentLevel
from solders.pubkey import Pubkey

from zmartd.chain.answers import SignatureStatus
from zmartd.chain.rpc import Rpc
from zmartd.indexer.absence import Absence
from zmartd.indexer.events.commitment import unverified
from zmartd.indexer.fetch import Fetched, Fetcher
from zmartd.indexer.parking import apply_each, roll_back_each
from zmartd.log import get_logger
from zmartd.metrics import Counter
from zmartd.store import parked
from zmartd.store.parked import Unapplied
from zmartd.store.postgres.database import Database

MAX_PER_RUN = 100
"""How many are tried in one run."""

_RETRIED = Counter(
    "zmartd_parked_transactions_retried_total",
    "Attempts to apply parked transactions, by outcome.",
    ["outcome"],
)

log = get_logger(__name__)


class RetryReport(Struct, frozen=True):
    """The signatures of parked transactions that were applied, that need not be, and that stay parked."""

    applied: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    """They failed, or are not on the chain any more: they have no effects."""
    parked: tuple[str, ...] = ()
    new_events: int = 0

    def __add__(self, other: RetryReport) -> RetryReport:
        return RetryReport(
            self.applied + other.applied,
            self.gone + other.gone,
            self.parked + other.parked,
            self.new_events + other.new_events,
        )


class ParkedRetry:
    """Tries parked transactions again. Can be stopped at any time; daemons that do it at once repeat work."""

    def __init__(self, rpc: Rpc, fetcher: Fetcher, database: Database, program_id: Pubkey) -> None:
        self._rpc = rpc
        self._fetcher = fetcher
        self._database = database
        self._absence = Absence(rpc, fetcher, program_id)

    async def run(self) -> RetryReport:
        """Try those that are due. Raises RpcUnavailable, RpcRejected, DatabaseUnavailable."""
        async with self._database.service() as connection:
            due = await parked.due(connection, MAX_PER_RUN)
        return await self._retry(due)

    async def retry_now(self, signatures: Sequence[str] | None = None) -> RetryReport:
        """Try these, or all, whether or not they are due. Raises what `run` raises."""
        async with self._database.service() as connection:
            slots = await parked.slots(connection, signatures)
        report = RetryReport()
        order = list(slots.items())
        for start in range(0, len(order), MAX_PER_RUN):
            report += await self._retry(dict(order[start : start + MAX_PER_RUN]))
        return report

    async def _retry(self, slots: Mapping[str, int]) -> RetryReport:
        """Try these, by their signatures with the slots in which they were parked."""
        if not slots:
            return RetryReport()
        statuses = await self._rpc.signature_statuses(list(slots), search_history=True)
        landed = {
            signature: status
            for signature, status in statuses.by_signature.items()
            if status is not None and status.is_confirmed
        }
        gone = await self._gone([one for one in slots if one not in landed], slots, statuses.slot)
        gone += [signature for signature, status in landed.items() if status.err is not None]
        wanted = {signature: status for signature, status in landed.items() if status.err is None}
        fetched = await self._fetcher.fetch(list(wanted))
        applied, failed, new_events = await self._apply(fetched, wanted)
        await self._roll_back_unverified(fetched, wanted)
        left = [signature for signature in slots if signature not in applied and signature not in gone]
        async with self._database.service() as connection:
            await parked.add(connection, failed)
            await parked.remove(connection, [*applied, *gone])
            await parked.postpone(connection, left)
        for outcome, signatures in (("applied", applied), ("gone", gone), ("parked", left)):
            _RETRIED.labels(outcome).inc(len(signatures))
            if signatures and outcome != "parked":
                log.info(f"transaction.{outcome}", signatures=signatures)
        return RetryReport(tuple(applied), tuple(gone), tuple(left), new_events)

    async def _apply(
        self, fetched: Fetched, wanted: Mapping[str, SignatureStatus]
    ) -> tuple[list[str], list[Unapplied], int]:
        """Returns the signatures of what is applied, what is not and was fetched, and the number of new
        events."""
        failed = fetched.unapplied({signature: status.slot for signature, status in wanted.items()})
        new_events = 0
        for commitment in ("finalized", "confirmed"):
            part = [
                tx
                for tx in fetched.transactions
                if (wanted[tx.signature].confirmation_status == "finalized") == (commitment == "finalized")
            ]
            done = await apply_each(self._fetcher.indexer, part, commitment)
            new_events += done.new_events
            failed += done.failed
        unapplied = {one.signature for one in failed}
        applied = [tx.signature for tx in fetched.transactions if tx.signature not in unapplied]
        return applied, failed, new_events

    async def _roll_back_unverified(self, fetched: Fetched, wanted: Mapping[str, SignatureStatus]) -> None:
        """Roll back what was delivered of final transactions that the node does not give."""
        read = {tx.signature for tx in fetched.transactions}
        unread = [
            signature
            for signature, status in wanted.items()
            if status.confirmation_status == "finalized" and signature not in read
        ]
        async with self._database.service() as connection:
            delivered = await unverified(connection, unread)
        await roll_back_each(self._database, self._fetcher.indexer, delivered)

    async def _gone(self, unknown: Sequence[str], slots: Mapping[str, int], known_slot: int) -> list[str]:
        """Those that are certainly not on the chain: their slots are final, the node that does not know them
        was not behind, at `known_slot`, it keeps transactions that old, and does not list them any more.
        """
        if not unknown:
            return []
        finalized_slot = await self._rpc.slot(CommitmentLevel.Finalized)
        if known_slot < finalized_slot:
            log.warning("finality.node_behind", slot=known_slot, finalized_slot=finalized_slot)
            return []
        gone = await self._absence.of({one: slots[one] for one in unknown if slots[one] <= finalized_slot})
        return [one for one in unknown if one in gone]

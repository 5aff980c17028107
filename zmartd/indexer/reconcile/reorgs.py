"""Whether the transactions of the index stay on the chain: some become final, some were on a fork that lost.

A slot that is final says nothing about a transaction that was seen in it: the slot may have got another
block. So every transaction is asked for by its signature. One that the chain has in another slot, or failed,
is taken back and what it did there applied instead; one that the chain does not have is taken back, provided
that the node keeps transactions as old as that. One that the chain has in that slot is fetched: it becomes
final where the rows say what the node says, else it is taken back as well. So nothing that a webhook said
outlasts this, whatever it lied about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec import Struct
from solders.commitment_config import CommitmentLevel

from zmartd.chain.answers import SignatureStatus
from zmartd.chain.pdas import Pdas
from zmartd.chain.rpc import STATUSES_PER_REQUEST, Rpc
from zmartd.chain.transactions import ChainTransaction, is_signature
from zmartd.indexer.events.commitment import not_finalized, promote, promote_markets
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.plausibility import IMPOSSIBLE_SLOTS
from zmartd.indexer.rebuild.event_diff import differing_signatures
from zmartd.log import get_logger
from zmartd.store.postgres.database import Database

_BEFORE_EVERYTHING = TransactionInSlot(-1, "")

log = get_logger(__name__)


class ReorgReport(Struct, frozen=True):
    """How many transactions became final, and how many were taken back."""

    promoted: int = 0
    rolled_back: int = 0


class _Verdict(Struct):
    """What became of some transactions. Those that landed elsewhere are among the lost ones."""

    landed: list[TransactionInSlot]
    """In final blocks, where the index has them."""
    unknown: list[TransactionInSlot]
    """Those of which the node told no status."""
    lost: list[TransactionInSlot]
    elsewhere: list[str]


class ReorgCheck:
    """Settles what the walk through the history leaves open."""

    def __init__(self, rpc: Rpc, fetcher: Fetcher, database: Database, pdas: Pdas, most_fetched: int) -> None:
        """After `most_fetched` transactions, and up to a batch more, the rest waits for the next time."""
        self._rpc = rpc
        self._fetcher = fetcher
        self._database = database
        self._pdas = pdas
        self._most_fetched = most_fetched

    async def run(self) -> ReorgReport:
        """Promote what is final by now and take back what is not so. May be stopped anywhere.

        Raises RpcUnavailable, DatabaseUnavailable.
        """
        finalized_slot = await self._rpc.slot(CommitmentLevel.Finalized)
        impossible_slot = await self._rpc.slot() + IMPOSSIBLE_SLOTS
        promoted = rolled_back = fetched = 0
        after = _BEFORE_EVERYTHING
        while fetched < self._most_fetched:
            batch = await self._unsettled(after, finalized_slot, impossible_slot)
            if not batch:
                break
            after = batch[-1]
            verdict = await self._judge(batch, finalized_slot)
            if verdict is None:
                break
            fetched += len(verdict.landed) + len(verdict.unknown)
            rolled_back += await self._take_back(verdict)
            settled = await self._compare(verdict.landed)
            promoted += settled.promoted
            rolled_back += settled.rolled_back
        async with self._database.service() as connection:
            await promote_markets(connection, finalized_slot)
        return ReorgReport(promoted, rolled_back)

    async def _unsettled(
        self, after: TransactionInSlot, finalized_slot: int, impossible_slot: int
    ) -> list[TransactionInSlot]:
        async with self._database.service() as connection:
            return await not_finalized(
                connection, after, finalized_slot, impossible_slot, STATUSES_PER_REQUEST
            )

    async def _judge(self, batch: Sequence[TransactionInSlot], finalized_slot: int) -> _Verdict | None:
        """None where the node that was asked is behind the one that told the finalized slot."""
        possible = [one for one in batch if is_signature(one.signature)]
        statuses = await self._rpc.signature_statuses(
            [one.signature for one in possible], search_history=True
        )
        if possible and statuses.slot < finalized_slot:
            log.warning("finality.node_behind", slot=statuses.slot, finalized_slot=finalized_slot)
            return None
        verdict = _Verdict([], [], [one for one in batch if one not in possible], [])
        for one in possible:
            status = statuses.by_signature[one.signature]
            if status is None:
                verdict.unknown.append(one)
            elif _is_elsewhere(one, status):
                verdict.lost.append(one)
                if status.err is None:
                    verdict.elsewhere.append(one.signature)
            elif status.confirmation_status == "finalized":
                verdict.landed.append(one)
        verdict.lost += await self._vanished(verdict.unknown)
        return verdict

    async def _vanished(self, unknown: Sequence[TransactionInSlot]) -> list[TransactionInSlot]:
        """Those that are not on the chain, as opposed to forgotten by the node."""
        if not unknown:
            return []
        kept_from = await self._rpc.first_available_block()
        kept = [one for one in unknown if one.slot >= kept_from]
        found = await asyncio.gather(*(self._rpc.transaction(one.signature) for one in kept))
        vanished = [one for one, transaction in zip(kept, found, strict=True) if transaction is None]
        if len(vanished) < len(unknown):
            log.warning("finality.unknown", transactions=len(unknown) - len(vanished), kept_from=kept_from)
        return vanished

    async def _compare(self, landed: Sequence[TransactionInSlot]) -> ReorgReport:
        """Promote those whose rows say what the node says, and put this in the place of the others."""
        if not landed:
            return ReorgReport()
        fetched = await self._fetcher.fetch([one.signature for one in landed])
        told = {tx.signature: tx for tx in fetched.transactions}
        async with self._database.service() as connection:
            false = await differing_signatures(connection, fetched.transactions, self._pdas)
            final = [one for one in landed if one.signature in told and one.signature not in false]
            promoted = await promote(connection, final)
        lost = [one for one in landed if one.signature in false]
        return ReorgReport(promoted, await self._undo(lost, [told[one.signature] for one in lost]))

    async def _take_back(self, verdict: _Verdict) -> int:
        fetched = await self._fetcher.fetch(verdict.elsewhere)
        # What the node does not give now would be lost for good if its old self went first.
        waiting = set(fetched.not_found)
        lost = [one for one in verdict.lost if one.signature not in waiting]
        return await self._undo(lost, fetched.transactions)

    async def _undo(self, lost: Sequence[TransactionInSlot], instead: Sequence[ChainTransaction]) -> int:
        if not lost:
            return 0
        for one in lost:
            log.warning("finality.undone", signature=one.signature, slot=one.slot)
        await self._fetcher.indexer.roll_back(lost, instead)
        return len(lost)


def _is_elsewhere(indexed: TransactionInSlot, status: SignatureStatus) -> bool:
    return status.is_confirmed and (status.slot != indexed.slot or status.err is not None)

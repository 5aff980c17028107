"""Whether the transactions of the index stay on the chain: some become final, some were on a fork that lost.

A slot that is final says nothing about a transaction that was seen in it: the slot may have got another
block. So every transaction is asked for by its signature. One that the chain has in another slot, or failed,
is taken back and what it did there applied instead; one that the chain does not have is taken back, provided
that the node keeps transactions as old as that. A transaction that landed again in the very same slot is
taken for the same one.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from solders.commitment_config import CommitmentLevel

from zmartd.chain.answers import SignatureStatus
from zmartd.chain.rpc import STATUSES_PER_REQUEST, Rpc
from zmartd.indexer.commitment import promote, promote_markets, unsettled
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.recording import Recorded
from zmartd.log import get_logger
from zmartd.store.pool import Database

_BEFORE_EVERYTHING = Recorded(-1, "")

log = get_logger(__name__)


class Settlement(Struct, frozen=True):
    """How many transactions became final, and how many were taken back."""

    promoted: int = 0
    undone: int = 0


class _Verdict(Struct):
    """What became of some transactions. Those that landed elsewhere are among the lost ones."""

    final: list[Recorded]
    lost: list[Recorded]
    elsewhere: list[str]


class Finality:
    """Settles what the walk through the history leaves open."""

    def __init__(self, rpc: Rpc, fetcher: Fetcher, database: Database) -> None:
        self._rpc = rpc
        self._fetcher = fetcher
        self._database = database

    async def settle(self) -> Settlement:
        """Promote what is final by now and take back what is gone. May be stopped anywhere.

        Raises RpcUnavailable, DatabaseUnavailable.
        """
        finalized_slot = await self._rpc.slot(CommitmentLevel.Finalized)
        promoted = undone = 0
        after = _BEFORE_EVERYTHING
        while batch := await self._unsettled(after, finalized_slot):
            after = batch[-1]
            verdict = await self._judge(batch, finalized_slot)
            if verdict is None:
                break
            promoted += await self._promote(verdict.final)
            undone += await self._take_back(verdict)
        async with self._database.service() as connection:
            await promote_markets(connection, finalized_slot)
        return Settlement(promoted, undone)

    async def _unsettled(self, after: Recorded, finalized_slot: int) -> list[Recorded]:
        async with self._database.service() as connection:
            return await unsettled(connection, after, finalized_slot, STATUSES_PER_REQUEST)

    async def _judge(self, batch: Sequence[Recorded], finalized_slot: int) -> _Verdict | None:
        """None where the node that was asked is behind the one that told the finalized slot."""
        statuses = await self._rpc.signature_statuses([one.signature for one in batch], search_history=True)
        if statuses.slot < finalized_slot:
            log.warning("finality.node_behind", slot=statuses.slot, finalized_slot=finalized_slot)
            return None
        verdict = _Verdict([], [], [])
        unknown: list[Recorded] = []
        for one in batch:
            status = statuses.by_signature[one.signature]
            if status is None:
                unknown.append(one)
            elif _is_elsewhere(one, status):
                verdict.lost.append(one)
                if status.err is None:
                    verdict.elsewhere.append(one.signature)
            elif status.confirmation_status == "finalized":
                verdict.final.append(one)
        verdict.lost += await self._vanished(unknown)
        return verdict

    async def _vanished(self, unknown: Sequence[Recorded]) -> list[Recorded]:
        """Those that are not on the chain, as opposed to forgotten by the node."""
        if not unknown:
            return []
        kept_from = await self._rpc.first_available_block()
        vanished = [
            one
            for one in unknown
            if one.slot >= kept_from and await self._rpc.transaction(one.signature) is None
        ]
        if len(vanished) < len(unknown):
            log.warning("finality.unknown", transactions=len(unknown) - len(vanished), kept_from=kept_from)
        return vanished

    async def _promote(self, final: Sequence[Recorded]) -> int:
        if not final:
            return 0
        async with self._database.service() as connection:
            return await promote(connection, final)

    async def _take_back(self, verdict: _Verdict) -> int:
        if not verdict.lost:
            return 0
        fetched = await self._fetcher.fetch(verdict.elsewhere)
        # What the node does not give now would be lost for good if its old self went first.
        waiting = set(fetched.not_found)
        lost = [one for one in verdict.lost if one.signature not in waiting]
        for one in lost:
            log.warning("finality.undone", signature=one.signature, slot=one.slot)
        await self._fetcher.indexer.undo(lost, fetched.transactions)
        return len(lost)


def _is_elsewhere(indexed: Recorded, status: SignatureStatus) -> bool:
    return status.is_confirmed and (status.slot != indexed.slot or status.err is not None)

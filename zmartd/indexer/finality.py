"""Compares indexed transactions with the chain: what is final and the same becomes final, what is not on the
chain is rolled back.

That a slot is final says nothing about a transaction that was seen in it, since another block may have taken
the slot. So each transaction is looked up by its signature:

- The chain has it in another slot, or failed: it is rolled back and applied as the chain has it.
- The chain does not have it: it is rolled back, if that is certain (`zmartd.indexer.absence`).
- The chain has it in the same slot: it is fetched and compared with its rows. If they are equal, it becomes
  final; if they are not, it is rolled back and applied as fetched.

So no false delivery of a webhook outlasts the finality of its slot.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.answers import SignatureStatus
from zmartd.chain.commitment import Commitment
from zmartd.chain.rpc import Rpc
from zmartd.chain.transactions import ChainTransaction, is_signature
from zmartd.indexer.absence import Absence
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.parking import park, roll_back_each
from zmartd.log import get_logger
from zmartd.store.postgres.database import Database

log = get_logger(__name__)


class Compared(Struct, frozen=True):
    """How many transactions became final, how many were rolled back, and how many that took to fetch."""

    promoted: int = 0
    rolled_back: int = 0
    fetched: int = 0

    def __add__(self, other: Compared) -> Compared:
        return Compared(
            self.promoted + other.promoted,
            self.rolled_back + other.rolled_back,
            self.fetched + other.fetched,
        )


class _Lookup(Struct):
    """Indexed transactions by what the chain has of them."""

    final: list[TransactionInSlot]
    """Finalized in the slot in which they are indexed."""
    unknown: list[TransactionInSlot]
    """Without a status."""
    lost: list[TransactionInSlot]
    """Not on the chain, or not like this."""
    elsewhere: dict[str, int]
    """The signatures of the lost ones that succeeded in another slot, with that slot."""


class FinalityCheck:
    """Compares transactions of slots that are final with the chain."""

    def __init__(self, rpc: Rpc, fetcher: Fetcher, database: Database, program_id: Pubkey) -> None:
        self._rpc = rpc
        self._fetcher = fetcher
        self._database = database
        self._absence = Absence(rpc, fetcher, program_id)

    async def compare(self, batch: Sequence[TransactionInSlot], finalized_slot: int) -> Compared | None:
        """Promote those that are final, and roll back those that are not on the chain.

        None if the node that answers is behind the one that gave the finalized slot. Raises RpcUnavailable,
        RpcRejected, DatabaseUnavailable.
        """
        found = await self._look_up(batch, finalized_slot)
        if found is None:
            return None
        lost = await self._roll_back_lost(found)
        compared = Compared(0, lost, len(found.final) + len(found.unknown))
        return compared + await self._verify(found.final)

    async def _look_up(self, batch: Sequence[TransactionInSlot], finalized_slot: int) -> _Lookup | None:
        """None if the node that answers is behind the one that gave the finalized slot."""
        possible = [one for one in batch if is_signature(one.signature)]
        statuses = await self._rpc.signature_statuses(
            [one.signature for one in possible], search_history=True
        )
        if possible and statuses.slot < finalized_slot:
            log.warning("finality.node_behind", slot=statuses.slot, finalized_slot=finalized_slot)
            return None
        found = _Lookup([], [], [one for one in batch if one not in possible], {})
        for one in possible:
            status = statuses.by_signature[one.signature]
            if status is None:
                found.unknown.append(one)
            elif _is_elsewhere(one, status):
                found.lost.append(one)
                if status.err is None:
                    found.elsewhere[one.signature] = status.slot
            elif status.confirmation_status == "finalized":
                found.final.append(one)
        found.lost += await self._vanished(found.unknown)
        return found

    async def _vanished(self, unknown: Sequence[TransactionInSlot]) -> list[TransactionInSlot]:
        """The transactions that are certainly not on the chain."""
        absent = await self._absence.of({one.signature: one.slot for one in unknown})
        vanished = [one for one in unknown if one.signature in absent]
        if len(vanished) < len(unknown):
            log.warning("finality.unknown", transactions=len(unknown) - len(vanished))
        return vanished

    async def _verify(self, final: Sequence[TransactionInSlot]) -> Compared:
        """Promote those whose rows equal what the node says, and replace the others by that.

        Those that cannot be read are parked, and compared once they can be.
        """
        if not final:
            return Compared()
        fetched = await self._fetcher.fetch([one.signature for one in final])
        await park(self._database, fetched.unapplied({one.signature: one.slot for one in final}))
        transactions = {tx.signature: tx for tx in fetched.transactions}
        report = await self._fetcher.indexer.promote(final, fetched.transactions)
        lost = [one for one in final if one.signature in report.differing]
        instead = [transactions[one.signature] for one in lost]
        return Compared(report.promoted, await self._roll_back(lost, instead, "finalized"))

    async def _roll_back_lost(self, found: _Lookup) -> int:
        fetched = await self._fetcher.fetch(list(found.elsewhere))
        await park(self._database, fetched.unapplied(found.elsewhere))
        # Rolled back before the node gives it, a transaction that landed elsewhere would be missing.
        not_found = set(fetched.not_found)
        lost = [one for one in found.lost if one.signature not in not_found]
        return await self._roll_back(lost, fetched.transactions)

    async def _roll_back(
        self,
        lost: Sequence[TransactionInSlot],
        instead: Sequence[ChainTransaction],
        commitment: Commitment = "confirmed",
    ) -> int:
        return await roll_back_each(self._database, self._fetcher.indexer, lost, instead, commitment)


def _is_elsewhere(indexed: TransactionInSlot, status: SignatureStatus) -> bool:
    return status.is_confirmed and (status.slot != indexed.slot or status.err is not None)

"""Looks up what is not finalized in the index: it becomes final, or is rolled back."""

from __future__ import annotations

from solders.commitment_config import CommitmentLevel
from solders.pubkey import Pubkey

from zmartd.chain.rpc import STATUSES_PER_REQUEST, Rpc
from zmartd.indexer.events.commitment import not_finalized
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.finality import Compared, FinalityCheck
from zmartd.indexer.plausibility import IMPOSSIBLE_SLOTS
from zmartd.store.postgres.database import Database

_BEFORE_EVERYTHING = TransactionInSlot(-1, "")


class ReorgCheck:
    """Looks up what is not finalized in the index, oldest first."""

    def __init__(
        self, rpc: Rpc, fetcher: Fetcher, database: Database, program_id: Pubkey, max_fetched: int
    ) -> None:
        """A run stops after the batch in which it has fetched `max_fetched` transactions."""
        self._rpc = rpc
        self._fetcher = fetcher
        self._database = database
        self._finality = FinalityCheck(rpc, fetcher, database, program_id)
        self._max_fetched = max_fetched

    async def run(self) -> Compared:
        """Promote what is final, roll back what is not on the chain. Can be stopped at any time.

        Raises RpcUnavailable, DatabaseUnavailable.
        """
        finalized_slot = await self._rpc.slot(CommitmentLevel.Finalized)
        impossible_slot = await self._rpc.slot() + IMPOSSIBLE_SLOTS
        done = Compared()
        after = _BEFORE_EVERYTHING
        while done.fetched < self._max_fetched:
            batch = await self._not_finalized(after, finalized_slot, impossible_slot)
            if not batch:
                break
            after = batch[-1]
            compared = await self._finality.compare(batch, finalized_slot)
            if compared is None:
                break
            done += compared
        await self._fetcher.indexer.promote_markets(finalized_slot)
        return done

    async def _not_finalized(
        self, after: TransactionInSlot, finalized_slot: int, impossible_slot: int
    ) -> list[TransactionInSlot]:
        async with self._database.service() as connection:
            return await not_finalized(
                connection, after, finalized_slot, impossible_slot, STATUSES_PER_REQUEST
            )

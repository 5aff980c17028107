"""Transactions that no webhook brought: found by walking the program's history, and put through the door."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.answers import SignatureInfo
from zmartd.chain.rpc import MAX_SIGNATURES_PER_REQUEST, Rpc
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.recording import known_signatures
from zmartd.store import cursor
from zmartd.store.cursor import Cursor
from zmartd.store.pool import Database

_BATCH = 100


class Reconciliation(Struct, frozen=True):
    """What a walk found: signatures looked at, transactions that were missing, and their new events."""

    signatures: int
    missing: int
    new_events: int
    slot: int | None
    """Up to which nothing is missing; None before anything was found."""


class Reconciler:
    """Compares a program's history on the chain with the index, from where the last walk ended."""

    def __init__(self, rpc: Rpc, fetcher: Fetcher, database: Database, program_id: Pubkey) -> None:
        self._rpc = rpc
        self._fetcher = fetcher
        self._database = database
        self._program_id = program_id

    async def run(self) -> Reconciliation:
        """Fetch and apply what is missing, the oldest first.

        The cursor stops at finalized transactions: what can still disappear is looked at again. Being stopped
        in between loses only the work since the last batch. Raises RpcUnavailable, DatabaseUnavailable.
        """
        async with self._database.service() as connection:
            start = await cursor.find(connection, str(self._program_id))
        history = await self._history(start)
        missing = new_events = 0
        reached = start
        for batch in _batches(history):
            fetched, applied, complete = await self._repair(batch)
            missing += fetched
            new_events += applied
            if not complete:
                break
            final = [info for info in batch if info.confirmation_status == "finalized"]
            if final:
                reached = Cursor(final[-1].signature, final[-1].slot)
                async with self._database.service() as connection:
                    await cursor.advance(connection, str(self._program_id), reached)
        return Reconciliation(len(history), missing, new_events, reached.slot if reached else None)

    async def _history(self, start: Cursor | None) -> list[SignatureInfo]:
        """Everything since the cursor, oldest first."""
        newest_first: list[SignatureInfo] = []
        before: str | None = None
        while True:
            page = await self._rpc.signatures_for_address(
                self._program_id, before=before, until=start.signature if start else None
            )
            newest_first += page
            if len(page) < MAX_SIGNATURES_PER_REQUEST:
                return newest_first[::-1]
            before = page[-1].signature

    async def _repair(self, batch: Sequence[SignatureInfo]) -> tuple[int, int, bool]:
        """Apply what the index lacks; how many that were, their new events, and whether all were found."""
        succeeded = [info.signature for info in batch if info.err is None]
        async with self._database.service() as connection:
            known = await known_signatures(connection, succeeded)
        wanted = [signature for signature in succeeded if signature not in known]
        if not wanted:
            return 0, 0, True
        applied, not_found = await self._fetcher.apply_signatures(wanted)
        return len(wanted) - len(not_found), applied.new_events, not not_found


def _batches(history: Sequence[SignatureInfo]) -> Iterator[Sequence[SignatureInfo]]:
    return (history[start : start + _BATCH] for start in range(0, len(history), _BATCH))

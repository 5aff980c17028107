"""Applies what the index lacks of a range of signatures, oldest first."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import aclosing

from msgspec import Struct

from zmartd.chain.answers import SignatureInfo
from zmartd.chain.commitment import Commitment
from zmartd.chain.transactions import ChainTransaction
from zmartd.indexer.apply import Indexer
from zmartd.indexer.events.recording import known_signatures
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.parking import AppliedEach, apply_each, park
from zmartd.indexer.walks.ranged import RangeWalk
from zmartd.store.parked import Unapplied
from zmartd.store.postgres.database import Database

_BATCH = 100


class BackfillReport(Struct, frozen=True):
    """How many transactions the range has, how many were applied with how many new events.

    `not_found` are signatures that the RPC node lists without knowing their transactions, `parked` the
    transactions that could not be read or applied.
    """

    transactions: int
    applied: int
    new_events: int
    not_found: tuple[str, ...]
    parked: tuple[Unapplied, ...] = ()

    @property
    def ok(self) -> bool:
        return not (self.not_found or self.parked)


Progress = Callable[[int, int], None]
"""Is called with the number of items done and the total."""


def no_progress(done: int, total: int) -> None:
    """Ignores the progress."""


async def missing_transactions(
    database: Database, signatures: Sequence[SignatureInfo]
) -> tuple[SignatureInfo, ...]:
    """The transactions that have no event in the index and are not known to have none."""
    async with database.service() as connection:
        known = await known_signatures(connection, [one.signature for one in signatures])
    return tuple(one for one in signatures if one.signature not in known)


async def backfill(
    database: Database, fetcher: Fetcher, walk: RangeWalk, progress: Progress = no_progress
) -> BackfillReport:
    """Fetch and apply what the index lacks of a counted walk. Can be stopped and repeated at any time.

    Raises RpcUnavailable, HistoryChanged, DatabaseUnavailable, DatabaseTimeout.
    """
    done = applied = new_events = 0
    not_found: list[str] = []
    parked: list[Unapplied] = []
    progress(0, walk.transactions)
    async with aclosing(walk.pages()) as pages:
        async for page in pages:
            for batch in batches(page):
                missing = await missing_transactions(database, batch)
                filled = await fill(database, fetcher, missing)
                new_events += filled.new_events
                applied += filled.applied
                not_found += filled.not_found
                parked += filled.parked
                done += len(batch)
                progress(done, walk.transactions)
    await fetcher.indexer.reprice_everything()
    return BackfillReport(done, applied, new_events, tuple(not_found), tuple(parked))


class Filled(Struct, frozen=True):
    """How many transactions were applied with how many new events, and what became of the others."""

    applied: int
    new_events: int
    not_found: tuple[str, ...]
    parked: tuple[Unapplied, ...]


async def fill(database: Database, fetcher: Fetcher, missing: Sequence[SignatureInfo]) -> Filled:
    """Fetch and apply listed transactions, and park those that cannot be read or applied.

    Raises RpcUnavailable, RpcRejected, DatabaseUnavailable, DatabaseTimeout.
    """
    fetched = await fetcher.fetch([one.signature for one in missing])
    done = await apply_listed(fetcher.indexer, fetched.transactions, missing)
    parked = (*fetched.unapplied({one.signature: one.slot for one in missing}), *done.failed)
    await park(database, parked)
    applied = len(fetched.transactions) - len(done.failed)
    return Filled(applied, done.new_events, fetched.not_found, parked)


async def apply_listed(
    indexer: Indexer, transactions: Sequence[ChainTransaction], listed: Sequence[SignatureInfo]
) -> AppliedEach:
    """Apply transactions with the commitment that the signature list gives them.

    The index need not ask again whether those listed as finalized stay on the chain.
    """
    final = {one.signature for one in listed if one.confirmation_status == "finalized"}
    new_events = 0
    failed: list[Unapplied] = []
    for commitment, part in _by_commitment(transactions, final):
        done = await apply_each(indexer, part, commitment)
        new_events += done.new_events
        failed += done.failed
    return AppliedEach(new_events, tuple(failed))


def _by_commitment(
    transactions: Sequence[ChainTransaction], final: Container[str]
) -> Iterator[tuple[Commitment, list[ChainTransaction]]]:
    commitments: tuple[Commitment, ...] = ("finalized", "confirmed")
    for commitment in commitments:
        part = [tx for tx in transactions if (tx.signature in final) == (commitment == "finalized")]
        if part:
            yield commitment, part


def batches(page: Sequence[SignatureInfo]) -> Iterator[Sequence[SignatureInfo]]:
    """A page in parts that are fetched, and applied in one database transaction, each."""
    return (page[start : start + _BATCH] for start in range(0, len(page), _BATCH))

"""A history from its beginning: every transaction that the index lacks, oldest first, through the door."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import aclosing

from msgspec import Struct

from zmartd.chain.answers import SignatureInfo
from zmartd.chain.transactions import ChainTransaction
from zmartd.indexer.events.recording import known_signatures
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.walks.ranged import RangeWalk
from zmartd.store.postgres.database import Database

_BATCH = 100


class BackfillReport(Struct, frozen=True):
    """Transactions looked at, those of them that were applied, their new events, and those not to be had."""

    transactions: int
    applied: int
    new_events: int
    not_found: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.not_found


Progress = Callable[[int, int], None]
"""Is told how many transactions are through, of how many."""


def no_progress(done: int, total: int) -> None:
    """Progress that nobody wants to know of."""


async def missing_transactions(
    database: Database, history: Sequence[SignatureInfo]
) -> tuple[SignatureInfo, ...]:
    """Those of a history of which the index knows nothing: no event, and not that there is none."""
    async with database.service() as connection:
        known = await known_signatures(connection, [one.signature for one in history])
    return tuple(one for one in history if one.signature not in known)


async def backfill(
    database: Database, fetcher: Fetcher, survey: RangeWalk, progress: Progress = no_progress
) -> BackfillReport:
    """Fetch and apply what is missing of a stretch. Stopped and started again it goes on where it was.

    Raises RpcUnavailable, HistoryChanged, DatabaseUnavailable, DatabaseTimeout.
    """
    done = applied = new_events = 0
    not_found: list[str] = []
    progress(0, survey.transactions)
    async with aclosing(survey.pages()) as pages:
        async for page in pages:
            for batch in _batches(page):
                missing = await missing_transactions(database, batch)
                fetched = await fetcher.fetch([one.signature for one in missing])
                final = {one.signature for one in missing if one.confirmation_status == "finalized"}
                for commitment, part in _by_commitment(fetched.transactions, final):
                    new_events += (await fetcher.indexer.apply(part, commitment)).new_events
                applied += len(fetched.transactions)
                not_found += fetched.not_found
                done += len(batch)
                progress(done, survey.transactions)
    return BackfillReport(done, applied, new_events, tuple(not_found))


def _by_commitment(
    transactions: Sequence[ChainTransaction], final: Container[str]
) -> Iterator[tuple[str, list[ChainTransaction]]]:
    """In at most two parts. Those that are final now need not be asked about again."""
    for commitment in ("finalized", "confirmed"):
        part = [tx for tx in transactions if (tx.signature in final) == (commitment == "finalized")]
        if part:
            yield commitment, part


def _batches(page: Sequence[SignatureInfo]) -> Iterator[Sequence[SignatureInfo]]:
    return (page[start : start + _BATCH] for start in range(0, len(page), _BATCH))

"""Parks the transactions that cannot be read or applied, so that nothing ends with one of them.

Only what the node lists in the history of the program or of a market is parked, so each row has cost a fee on
the chain. `zmartd.indexer.retry` takes them out again.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
from msgspec import Struct

from zmartd.chain.commitment import Commitment
from zmartd.chain.transactions import ChainTransaction
from zmartd.chain.transport import RpcRejected, RpcUnavailable
from zmartd.indexer.apply import IndexAltered, Indexer
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.log import get_logger
from zmartd.metrics import Counter
from zmartd.store import parked
from zmartd.store.parked import Unapplied
from zmartd.store.postgres.database import Database
from zmartd.store.postgres.errors import DatabaseNotReady, DatabaseTimeout, DatabaseUnavailable

_PARKED = Counter(
    "zmartd_transactions_parked_total",
    "Transactions that could not be read or applied, each once.",
    ["reason"],
)

log = get_logger(__name__)


class AppliedEach(Struct, frozen=True):
    """How many new events a batch had, and the transactions in it that could not be applied."""

    new_events: int = 0
    failed: tuple[Unapplied, ...] = ()


async def apply_each(
    indexer: Indexer, transactions: Sequence[ChainTransaction], commitment: Commitment = "confirmed"
) -> AppliedEach:
    """Apply transactions in one batch, or one by one where that fails because of what one of them says.

    Raises what is the trouble of the database or of the daemon: DatabaseUnavailable, DatabaseTimeout and the
    like.
    """
    try:
        return AppliedEach((await indexer.apply(transactions, commitment)).new_events)
    except Exception as error:
        if not is_of_one_transaction(error):
            raise
        if len(transactions) == 1:
            return AppliedEach(failed=(_failed(transactions[0], error),))
    new_events = 0
    failed: list[Unapplied] = []
    for transaction in transactions:
        alone = await apply_each(indexer, [transaction], commitment)
        new_events += alone.new_events
        failed += alone.failed
    return AppliedEach(new_events, tuple(failed))


def is_of_one_transaction(error: Exception) -> bool:
    """Whether an error comes from what was to be applied, and others can be applied all the same.

    Of what Postgres says only that the data is wrong: a missing right or column would fail with all of them.
    """
    if isinstance(error, (IndexAltered, asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)):
        return True
    return not isinstance(
        error,
        (
            DatabaseUnavailable,
            DatabaseTimeout,
            DatabaseNotReady,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            OSError,
            MemoryError,
        ),
    )


def is_of_one_market(error: Exception) -> bool:
    """Whether an error comes from one market or transaction, and others can be read and written."""
    return is_of_one_transaction(error) and not isinstance(error, (RpcUnavailable, RpcRejected))


async def roll_back_each(
    database: Database,
    indexer: Indexer,
    lost: Sequence[TransactionInSlot],
    instead: Sequence[ChainTransaction] = (),
    commitment: Commitment = "confirmed",
) -> int:
    """Roll transactions back and apply `instead`. Returns how many were rolled back.

    Where that fails because of one of them, it is done one by one, and those that still fail are parked.
    Raises what `apply_each` raises.
    """
    if not lost:
        return 0
    failed: list[Unapplied] = []
    try:
        await indexer.roll_back(lost, instead, commitment)
    except Exception as error:
        if not is_of_one_transaction(error):
            raise
        log.warning("finality.not_undone", transactions=len(lost), exc_info=error)
        for one in lost:
            try:
                await indexer.roll_back([one])
            except Exception as of_one:
                if not is_of_one_transaction(of_one):
                    raise
                detail = f"it cannot be rolled back: {type(of_one).__name__}: {of_one}"
                failed.append(Unapplied(one.signature, one.slot, "failed", detail))
        done = await apply_each(indexer, instead, commitment)
        await park(database, (*failed, *done.failed))
    left = {one.signature for one in failed}
    for one in lost:
        if one.signature not in left:
            log.warning("finality.undone", signature=one.signature, slot=one.slot)
    return len(lost) - len(failed)


async def park(database: Database, unapplied: Sequence[Unapplied]) -> None:
    """Park transactions durably. Each that was not parked before is logged and counted. Raises
    DatabaseUnavailable."""
    if not unapplied:
        return
    async with database.service() as connection:
        new = await parked.add(connection, unapplied)
    for one in unapplied:
        if one.signature in new:
            log.warning(
                "transaction.parked",
                signature=one.signature,
                slot=one.slot,
                reason=one.reason,
                detail=one.detail,
                action="it is tried again by itself; `zmartd inbox parked` lists what is parked",
            )
            _PARKED.labels(one.reason).inc()


def _failed(transaction: ChainTransaction, error: Exception) -> Unapplied:
    log.warning("indexer.not_applied", signature=transaction.signature, slot=transaction.slot, exc_info=error)
    detail = f"{type(error).__name__}: {error}"
    return Unapplied(transaction.signature, transaction.slot, "failed", detail)

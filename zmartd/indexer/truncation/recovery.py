"""Recovers the events of transactions with truncated logs.

Once everything before such a transaction is indexed, and was compared with the chain, the events that its
logs lack are inferred from its instructions and applied under its signature, like any other event; a replay
that does the same therefore writes the same rows. The transaction counts as resolved when the accounts that
it changed, read afterwards, equal the index. Until then it is tried again. Where an event cannot be inferred,
or the accounts contradict it, its row in `truncated_transactions` says why; what follows it in the same
market waits, and an operator is told.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import msgspec
from asyncpg import Connection
from msgspec import Struct
from solders.commitment_config import CommitmentLevel
from solders.pubkey import Pubkey

from zmartd.chain.pdas import Pdas
from zmartd.chain.rpc import STATUSES_PER_REQUEST, Rpc
from zmartd.chain.transactions import ChainTransaction
from zmartd.errors import ZmartdError
from zmartd.indexer.audit.audit import compare_configuration, compare_market
from zmartd.indexer.effects.configuration import CONFIGURATION_EVENTS
from zmartd.indexer.effects.markets import known_addresses
from zmartd.indexer.events.commitment import has_unverified, unverified_until
from zmartd.indexer.events.incomplete import (
    IncompleteTransaction,
    incomplete_transactions,
    is_incomplete,
    resolve_truncated,
    set_complete,
    set_truncated_reason,
    take_unresolved,
    unverified_truncated_of,
)
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.events.rows import event_row
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.finality import FinalityCheck
from zmartd.indexer.parking import is_of_one_market
from zmartd.indexer.rebuild.event_diff import diff_events
from zmartd.indexer.truncation.history import History, NotVerified
from zmartd.indexer.truncation.inference import Inference, infer_events
from zmartd.log import get_logger
from zmartd.market.iso_time import utc_from_unix
from zmartd.store.postgres.database import Database

_MAX_PER_RUN = 50
_MAX_COMPARED = 3_000
"""How many transactions before those of a run are compared with the chain in it."""
_LONGEST_REASON = 500

log = get_logger(__name__)


class RecoveryReport(Struct, frozen=True):
    """How many truncated transactions were tried, how many are resolved, and how many events that added.

    `incomplete` are those, of this run or an earlier one, of which an operator has to know.
    """

    transactions: int = 0
    resolved: int = 0
    new_events: int = 0
    incomplete: tuple[IncompleteTransaction, ...] = ()


class TruncationRecovery:
    """Infers, applies and verifies the events of truncated transactions."""

    def __init__(self, rpc: Rpc, fetcher: Fetcher, database: Database, program_id: Pubkey) -> None:
        self._rpc = rpc
        self._fetcher = fetcher
        self._database = database
        self._program_id = program_id
        self._pdas = Pdas(program_id)
        self._history = History(database, rpc, self._pdas)
        self._finality = FinalityCheck(rpc, fetcher, database, program_id)

    async def run(self, complete_slot: int) -> RecoveryReport:
        """Try unresolved transactions up to `complete_slot`, up to which the index is complete.

        One that fails, or an account that cannot be read, holds up no other, and an operator is told. Raises
        RpcUnavailable, RpcRejected, DatabaseUnavailable.
        """
        async with self._database.service() as connection:
            signatures = await take_unresolved(connection, complete_slot, _MAX_PER_RUN)
        fetched = await self._fetcher.fetch(signatures)
        compared = await self._compare_before(fetched.transactions)
        new_events = 0
        inferred: list[ChainTransaction] = []
        for transaction in fetched.transactions:
            if not transaction.succeeded:
                continue
            try:
                added, reason = await self._tried(transaction)
            except NotVerified as unverified:
                await self._wait(transaction, unverified.signature, compared)
                continue
            new_events += added
            if reason is None:
                inferred.append(transaction)
        resolved = await self._verify(inferred)
        async with self._database.service() as connection:
            for signature in fetched.not_found:
                await self._leave_open(connection, signature, "the node does not give the transaction")
            incomplete = await incomplete_transactions(connection)
        return RecoveryReport(len(signatures), resolved, new_events, tuple(incomplete))

    async def _compare_before(self, transactions: Sequence[ChainTransaction]) -> set[str]:
        """Compare with the chain what these transactions stand on, as far as it is final to the node. Returns
        the signatures that were compared: of what is unverified even so, the node says nothing certain.
        """
        compared: set[str] = set()
        if not transactions:
            return compared
        finalized_slot = await self._rpc.slot(CommitmentLevel.Finalized)
        addresses = sorted({address for transaction in transactions for address in transaction.changes})
        # The node that answers may be behind the one that called these transactions final.
        until = min(finalized_slot, max(transaction.slot for transaction in transactions))
        after = TransactionInSlot(-1, "")
        while len(compared) < _MAX_COMPARED:
            async with self._database.service() as connection:
                batch = await unverified_until(
                    connection,
                    until,
                    addresses,
                    sorted(CONFIGURATION_EVENTS),
                    after=after,
                    limit=STATUSES_PER_REQUEST,
                )
            if not batch or await self._finality.compare(batch, finalized_slot) is None:
                break
            after = batch[-1]
            compared.update(one.signature for one in batch)
        return compared

    async def _wait(self, transaction: ChainTransaction, unverified: str, compared: Container[str]) -> None:
        """Leave it for the next run. What can be claimed at any time is no reason to tell anybody."""
        log.info("truncated.waits", signature=transaction.signature, unverified=unverified)
        if unverified in compared:
            reason = f"{unverified}, which comes before, cannot be compared with the chain"
            async with self._database.service() as connection:
                await self._leave_open(connection, transaction.signature, reason)

    async def _tried(self, transaction: ChainTransaction) -> tuple[int, str | None]:
        """What `_infer` returns; the error is the reason where it fails because of this transaction."""
        try:
            return await self._infer(transaction)
        except NotVerified:
            raise
        except Exception as error:
            if not is_of_one_market(error):
                raise
            reason = f"its events cannot be inferred: {_in_words(error)}"
            async with self._database.service() as connection:
                await self._leave_open(connection, transaction.signature, reason)
            return 0, reason

    async def _infer(self, transaction: ChainTransaction) -> tuple[int, str | None]:
        """Infer and apply. How many events were added, and why some are missing; None if none is.

        What happened is inferred from what earlier trades came to, so all of them have to be priced.
        """
        await self._fetcher.indexer.reprice_everything()
        inference = await self._inference(transaction)
        added = await self._apply(transaction, inference)
        async with self._database.service() as connection:
            await set_complete(connection, transaction, complete=inference.reason is None)
            if inference.reason is not None:
                await self._leave_open(connection, transaction.signature, inference.reason)
        return added, inference.reason

    async def _leave_open(self, connection: Connection, signature: str, reason: str) -> None:
        log.warning("truncated.open", signature=signature, reason=reason)
        await set_truncated_reason(connection, signature, reason)

    async def _inference(self, transaction: ChainTransaction) -> Inference:
        calls, block_time = transaction.calls, transaction.block_time
        if calls is None:
            return Inference(transaction.events, reason="the node has not kept the inner instructions")
        if block_time is None:
            return Inference(transaction.events, reason="the node does not know the time of its block")
        if transaction.quarantined:
            return Inference(transaction.events, reason="a line of its logs cannot be decoded")
        known = await self._history.before(transaction)
        return infer_events(calls, transaction.events, known, transaction.flows, block_time)

    async def _apply(self, transaction: ChainTransaction, inference: Inference) -> int:
        """Make the rows of a transaction those of its known events. Returns how many were written."""
        whole = msgspec.structs.replace(
            transaction,
            events=inference.events,
            resolver_payments=inference.payments,
            logs_truncated=inference.reason is not None,
        )
        rows = [event_row(whole, record, self._pdas) for record in whole.events]
        signature = transaction.signature
        partial = () if inference.reason is None else (signature,)
        async with self._database.service() as connection:
            addresses = await known_addresses(connection, rows)
            diff = await diff_events(connection, rows, [signature], partial, addresses)
        if not diff and inference.reason is not None:
            return 0
        if not diff.to_remove:
            return (await self._fetcher.indexer.apply([whole], "finalized")).new_events
        at = max((row.occurred_at for row in rows), default=utc_from_unix(transaction.block_time or 0))
        await self._fetcher.indexer.replace_events(diff, {}, {}, at, "finalized")
        return len(diff.to_record)

    async def _verify(self, inferred: Sequence[ChainTransaction]) -> int:
        """Compare what transactions changed with the accounts. Returns how many are resolved."""
        changed = sorted({address for transaction in inferred for address in transaction.changes})
        verdicts = {address: await self._verdict(Pubkey.from_string(address)) for address in changed}
        resolved = [
            transaction.signature
            for transaction in inferred
            if all(verdicts[address] == "" for address in transaction.changes)
        ]
        async with self._database.service() as connection:
            await resolve_truncated(connection, resolved)
            for transaction in inferred:
                wrong = [
                    f"the account {address} {verdict}"
                    for address in transaction.changes
                    if (verdict := verdicts[address])
                ]
                if wrong:
                    await self._leave_open(connection, transaction.signature, "; ".join(wrong))
        return len(resolved)

    async def _verdict(self, address: Pubkey) -> str | None:
        """What is wrong with an account; empty if nothing is, None where that cannot be told yet."""
        try:
            fields = await self._compare(address)
        except Exception as error:
            if not is_of_one_market(error):
                raise
            return f"cannot be compared with the index: {_in_words(error)}"
        if not fields:
            return None if fields is None else ""
        return f"differs in {', '.join(fields)}"

    async def _compare(self, address: Pubkey) -> tuple[str, ...] | None:
        """The fields in which an account differs from the index; None where that cannot be told yet."""
        if address == self._pdas.global_config():
            differences = await compare_configuration(self._database, self._rpc, self._program_id)
            conclusive = True
        else:
            comparison = await compare_market(self._database, self._rpc, self._program_id, address)
            differences, conclusive = comparison.differences, comparison.is_conclusive()
        if not differences:
            return ()
        if not conclusive or await self._may_change(str(address)):
            return None
        return tuple(sorted({one.field for one in differences}))

    async def _may_change(self, address: str) -> bool:
        """Whether the index is not yet what it will be of an account, which may be why the two differ: events
        are missing of a transaction, or are there of one that was not compared with the chain.

        Of a truncated transaction that is not final yet the node's word is taken.
        """
        kinds = sorted(CONFIGURATION_EVENTS) if address == str(self._pdas.global_config()) else []
        async with self._database.service() as connection:
            if await is_incomplete(connection, address):
                return True
            if await has_unverified(connection, address, kinds):
                return True
            told = await unverified_truncated_of(connection, address, _MAX_PER_RUN)
        fetched = await self._fetcher.fetch(told)
        return any(tx.logs_truncated and address in tx.changes for tx in fetched.transactions)


def _in_words(error: Exception) -> str:
    if isinstance(error, ZmartdError):
        return error.message
    log.exception("truncated.failed")
    return f"{type(error).__name__}: {error}"[:_LONGEST_REASON]

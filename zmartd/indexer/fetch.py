"""Fetches transactions by their signatures and applies them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from zmartd.chain.arguments import MalformedTransaction
from zmartd.chain.rpc import Rpc
from zmartd.chain.transactions import MAX_QUARANTINED_BYTES, ChainTransaction, Quarantined
from zmartd.errors import ZmartdError
from zmartd.indexer.apply import Applied, Indexer
from zmartd.indexer.plausibility import Plausibility
from zmartd.log import get_logger
from zmartd.metrics import Counter

_CONCURRENCY = 8
_MAX_SLOT = 2**63 - 1

_FUTURE = Counter(
    "zmartd_fetched_future_total", "Fetched transactions with a slot after the node's newest, not applied"
)

log = get_logger(__name__)


class TransactionNotFound(ZmartdError):
    """The RPC node does not know this transaction: it has not been confirmed yet, or never was sent."""

    code = "transaction_not_found"


class Fetched(Struct, frozen=True):
    """Transactions in the order of the given signatures, and the signatures that the node does not know."""

    transactions: tuple[ChainTransaction, ...]
    not_found: tuple[str, ...]


class Fetcher:
    """Fetches confirmed transactions and applies them."""

    def __init__(
        self,
        rpc: Rpc,
        indexer: Indexer,
        parse: Callable[[Mapping[str, Any]], ChainTransaction],
        plausibility: Plausibility,
    ) -> None:
        self._rpc = rpc
        self._indexer = indexer
        self._parse = parse
        self._plausibility = plausibility
        self._slots = asyncio.Semaphore(_CONCURRENCY)

    @property
    def indexer(self) -> Indexer:
        """The indexer that fetched transactions are applied to."""
        return self._indexer

    @property
    def plausibility(self) -> Plausibility:
        """The check that fetched transactions have to pass."""
        return self._plausibility

    async def apply_signature(self, signature: str) -> ChainTransaction:
        """Fetch one transaction, apply it, and return it, also if it failed.

        Does not wait for a bulk fetch. Raises TransactionNotFound, MalformedTransaction, RpcUnavailable,
        DatabaseUnavailable.
        """
        raw = await self._rpc.transaction(signature)
        if raw is None:
            raise TransactionNotFound(signature=signature)
        transaction = self._parse(raw)
        if await self._is_future(transaction):
            raise TransactionNotFound(signature=signature)
        await self._indexer.apply([transaction])
        return transaction

    async def apply_signatures(self, signatures: Sequence[str]) -> tuple[Applied, tuple[str, ...]]:
        """Fetch transactions and apply them in one batch. Returns also the signatures that were not found.

        Raises RpcUnavailable, DatabaseUnavailable.
        """
        fetched = await self.fetch(signatures)
        return await self._indexer.apply(fetched.transactions), fetched.not_found

    async def fetch(self, signatures: Sequence[str]) -> Fetched:
        """Fetch transactions, a few at a time. One that cannot be parsed has its whole JSON in quarantine.

        Raises RpcUnavailable or RpcRejected as soon as one request fails.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._fetch(signature)) for signature in signatures]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        found = [task.result() for task in tasks]
        missing = (signature for signature, one in zip(signatures, found, strict=True) if one is None)
        return Fetched(tuple(one for one in found if one is not None), tuple(missing))

    async def _fetch(self, signature: str) -> ChainTransaction | None:
        async with self._slots:
            raw = await self._rpc.transaction(signature)
        if raw is None:
            return None
        transaction = self._read(signature, raw)
        return None if transaction is None or await self._is_future(transaction) else transaction

    def _read(self, signature: str, raw: Mapping[str, Any]) -> ChainTransaction | None:
        try:
            return self._parse(raw)
        except MalformedTransaction as error:
            log.error("fetch.malformed", signature=signature, reason=error.message)  # noqa: TRY400
            return _unreadable(signature, raw, error.message)

    async def _is_future(self, transaction: ChainTransaction) -> bool:
        """Whether the node gives a slot after its own newest one. Such a transaction counts as not found."""
        slot, seconds = transaction.slot, transaction.block_time
        if not await self._plausibility.is_certainly_future(slot, seconds):
            return False
        log.warning("fetch.future", signature=transaction.signature, slot=slot, block_time=seconds)
        _FUTURE.inc()
        return True


def _unreadable(signature: str, raw: Mapping[str, Any], reason: str) -> ChainTransaction | None:
    """A transaction of which only the slot is known, with its JSON in quarantine. None without a slot."""
    slot = raw.get("slot")
    if not isinstance(slot, int) or not 0 <= slot <= _MAX_SLOT:
        return None
    return ChainTransaction(
        signature=signature,
        slot=slot,
        block_time=None,
        index_in_block=None,
        succeeded=True,
        error=None,
        events=(),
        quarantined=(Quarantined(0, msgspec.json.encode(raw)[:MAX_QUARANTINED_BYTES], reason),),
        creations=(),
        dispute_counts=(),
        logs_truncated=False,
    )

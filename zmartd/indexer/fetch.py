"""Transactions by signature: fetched from the chain, and through the door."""

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
from zmartd.log import get_logger

_CONCURRENCY = 8

log = get_logger(__name__)


class TransactionNotFound(ZmartdError):
    """The RPC node does not know this transaction: it has not been confirmed yet, or never was sent."""

    code = "transaction_not_found"


class Fetched(Struct, frozen=True):
    """Transactions in the order in which they were asked for, and the signatures of those not to be had."""

    transactions: tuple[ChainTransaction, ...]
    not_found: tuple[str, ...]


class Fetcher:
    """Fetches confirmed transactions and applies them."""

    def __init__(
        self, rpc: Rpc, indexer: Indexer, parse: Callable[[Mapping[str, Any]], ChainTransaction]
    ) -> None:
        self._rpc = rpc
        self._indexer = indexer
        self._parse = parse
        self._turns = asyncio.Semaphore(_CONCURRENCY)

    @property
    def indexer(self) -> Indexer:
        """Where fetched transactions go."""
        return self._indexer

    async def apply_signature(self, signature: str) -> ChainTransaction:
        """Fetch one transaction, apply it, and return what it did; its failure, if it failed.

        It waits for no bulk fetch. Raises TransactionNotFound, MalformedTransaction, RpcUnavailable,
        DatabaseUnavailable.
        """
        raw = await self._rpc.transaction(signature)
        if raw is None:
            raise TransactionNotFound(signature=signature)
        transaction = self._parse(raw)
        await self._indexer.apply([transaction])
        return transaction

    async def apply_signatures(self, signatures: Sequence[str]) -> tuple[Applied, tuple[str, ...]]:
        """Fetch several at once, apply them in one batch, and return also those that were not found.

        Raises RpcUnavailable, DatabaseUnavailable.
        """
        fetched = await self.fetch(signatures)
        return await self._indexer.apply(fetched.transactions), fetched.not_found

    async def fetch(self, signatures: Sequence[str]) -> Fetched:
        """Fetch several, a few at a time. One that cannot be read comes with all of it in quarantine.

        Raises RpcUnavailable or RpcRejected, as soon as one of them cannot be asked for.
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
        async with self._turns:
            raw = await self._rpc.transaction(signature)
        if raw is None:
            return None
        try:
            return self._parse(raw)
        except MalformedTransaction as error:
            log.error("fetch.malformed", signature=signature, reason=error.message)  # noqa: TRY400
            return _unreadable(signature, raw, error.message)


def _unreadable(signature: str, raw: Mapping[str, Any], reason: str) -> ChainTransaction | None:
    """A transaction of which only its slot is known: its JSON is kept. Without a slot it is none."""
    slot = raw.get("slot")
    if not isinstance(slot, int) or slot < 0:
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

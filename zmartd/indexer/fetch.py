"""Transactions by signature: fetched from the chain, and through the door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zmartd.chain.rpc import Rpc
from zmartd.chain.transactions import ChainTransaction
from zmartd.errors import ZmartdError
from zmartd.indexer.apply import Applied, Indexer

_CONCURRENCY = 8


class TransactionNotFound(ZmartdError):
    """The RPC node does not know this transaction: it has not been confirmed yet, or never was sent."""

    code = "transaction_not_found"


class Fetcher:
    """Fetches confirmed transactions and applies them."""

    def __init__(
        self, rpc: Rpc, indexer: Indexer, parse: Callable[[Mapping[str, Any]], ChainTransaction]
    ) -> None:
        self._rpc = rpc
        self._indexer = indexer
        self._parse = parse
        self._turns = asyncio.Semaphore(_CONCURRENCY)

    async def apply_signature(self, signature: str) -> ChainTransaction:
        """Fetch one transaction, apply it, and return what it did; its failure, if it failed.

        Raises TransactionNotFound, RpcUnavailable, DatabaseUnavailable.
        """
        transaction = await self._fetch(signature)
        if transaction is None:
            raise TransactionNotFound(signature=signature)
        await self._indexer.apply([transaction])
        return transaction

    async def apply_signatures(self, signatures: Sequence[str]) -> tuple[Applied, tuple[str, ...]]:
        """Fetch several at once, apply them in one batch, and return also those that were not found."""
        found = await asyncio.gather(*(self._fetch(signature) for signature in signatures))
        missing = tuple(signature for signature, one in zip(signatures, found, strict=True) if one is None)
        return await self._indexer.apply([one for one in found if one is not None]), missing

    async def _fetch(self, signature: str) -> ChainTransaction | None:
        async with self._turns:
            raw = await self._rpc.transaction(signature)
        return None if raw is None else self._parse(raw)

"""Fetches transactions by their signatures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import UNSET, Struct, UnsetType

from zmartd.chain.answers import SignatureStatus
from zmartd.chain.arguments import MalformedTransaction
from zmartd.chain.rpc import Rpc
from zmartd.chain.transactions import ChainTransaction
from zmartd.chain.transport import RpcRejected, RpcUnusable
from zmartd.errors import DetailedError, ZmartdError
from zmartd.indexer.apply import Indexer
from zmartd.indexer.parking import apply_each
from zmartd.indexer.plausibility import Plausibility
from zmartd.log import get_logger
from zmartd.metrics import Counter
from zmartd.store.parked import Reason, Unapplied

NOBODYS_SIGNATURE = "1" * 64
"""64 zero bytes in base58: no transaction has this signature."""

_CONCURRENCY = 8

_FUTURE = Counter(
    "zmartd_fetched_future_total", "Fetched transactions with a slot after the node's newest, not applied."
)

T = TypeVar("T")

log = get_logger(__name__)


class TransactionDetails(Struct, frozen=True):
    """The transaction that is not on the chain."""

    signature: str
    """Its signature, base58."""
    slot: int | UnsetType = UNSET
    """Of one that was retracted: the slot that it was indexed with."""


class TransactionNotFound(DetailedError[TransactionDetails]):
    """The Solana node does not know this transaction, which is not confirmed yet or was never sent; check its
    signature, or ask again in a moment.
    """

    code = "transaction_not_found"


class TransactionUnread(ZmartdError):
    """The transaction is on the chain, and what it did cannot be read."""

    code = "transaction_unread"

    def __init__(self, signature: str, status: SignatureStatus) -> None:
        super().__init__()
        self.signature = signature
        self.status = status
        """Where it is, and whether it failed."""


class Unread(Struct, frozen=True):
    """A transaction that the node does not give, though it gives others, or gives in no form that is
    known."""

    signature: str
    reason: Reason
    detail: str

    def at(self, slot: int) -> Unapplied:
        """To be parked, in the slot that the node lists."""
        return Unapplied(self.signature, slot, self.reason, self.detail)


class Fetched(Struct, frozen=True):
    """Transactions in the order of the given signatures, the signatures that the node does not know, and
    those of which nothing else is known.
    """

    transactions: tuple[ChainTransaction, ...] = ()
    not_found: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()

    def unapplied(self, slots: Mapping[str, int]) -> list[Unapplied]:
        """The unread transactions, to be parked in their slots."""
        return [one.at(slots[one.signature]) for one in self.unread]


class Fetcher:
    """Fetches confirmed transactions."""

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
        """Fetch one transaction, apply it, and return it, also if it failed, or could not be applied.

        Does not wait for a bulk fetch. Raises TransactionNotFound, TransactionUnread, RpcUnavailable,
        RpcRejected, DatabaseUnavailable.
        """
        found = await self._fetch(signature)
        if found is None:
            raise TransactionNotFound(TransactionDetails(signature))
        if isinstance(found, Unread):
            raise await self._told_by_status(found)
        await apply_each(self._indexer, [found])
        return found

    async def fetch(self, signatures: Sequence[str]) -> Fetched:
        """Fetch transactions, a few at a time. One that cannot be had or read holds up no other.

        Raises RpcUnavailable or RpcRejected as soon as the node fails with more than one transaction.
        """
        found = await _all(self._fetch_in_turn, signatures)
        return Fetched(
            tuple(one for one in found.values() if isinstance(one, ChainTransaction)),
            tuple(signature for signature, one in found.items() if one is None),
            tuple(one for one in found.values() if isinstance(one, Unread)),
        )

    async def absent(self, signatures: Sequence[str]) -> set[str]:
        """The signatures of which the node has no transaction at all. Raises what `fetch` raises."""
        found = await _all(self._raw_in_turn, signatures)
        return {signature for signature, raw in found.items() if raw is None}

    async def _fetch_in_turn(self, signature: str) -> ChainTransaction | Unread | None:
        return await self._read(signature, await self._raw_in_turn(signature))

    async def _fetch(self, signature: str) -> ChainTransaction | Unread | None:
        return await self._read(signature, await self._raw(signature))

    async def _raw_in_turn(self, signature: str) -> Mapping[str, Any] | Unread | None:
        async with self._slots:
            return await self._raw(signature)

    async def _raw(self, signature: str) -> Mapping[str, Any] | Unread | None:
        try:
            return await self._rpc.transaction(signature)
        except (RpcRejected, RpcUnusable) as error:
            # A node that answers about nobody's transaction has its trouble with this one alone.
            await self._rpc.transaction(NOBODYS_SIGNATURE)
            return Unread(signature, "refused", error.message)

    async def _read(
        self, signature: str, raw: Mapping[str, Any] | Unread | None
    ) -> ChainTransaction | Unread | None:
        """None for a transaction that the node does not have, or has in the future."""
        if raw is None or isinstance(raw, Unread):
            return raw
        try:
            transaction = self._parse(raw)
        except MalformedTransaction as error:
            return Unread(signature, "unreadable", error.message)
        except Exception as error:
            log.exception("fetch.unreadable", signature=signature)
            return Unread(signature, "unreadable", f"{type(error).__name__}: {error}")
        if transaction.signature != signature:
            return Unread(signature, "unreadable", f"the node gives {transaction.signature} in its place")
        return None if await self._is_future(transaction) else transaction

    async def _is_future(self, transaction: ChainTransaction) -> bool:
        """Whether the node gives a slot after its own newest one. Such a transaction counts as not found."""
        slot, seconds = transaction.slot, transaction.block_time
        if not await self._plausibility.is_certainly_future(slot, seconds):
            return False
        log.warning("fetch.future", signature=transaction.signature, slot=slot, block_time=seconds)
        _FUTURE.inc()
        return True

    async def _told_by_status(self, unread: Unread) -> ZmartdError:
        """What to raise for an unread transaction: that it is on the chain, if its status says so."""
        statuses = await self._rpc.signature_statuses([unread.signature], search_history=True)
        status = statuses.by_signature[unread.signature]
        log.warning("fetch.unread", signature=unread.signature, reason=unread.reason, detail=unread.detail)
        if status is None or not status.is_confirmed:
            return TransactionNotFound(TransactionDetails(unread.signature))
        return TransactionUnread(unread.signature, status)


async def _all(step: Callable[[str], Coroutine[Any, Any, T]], signatures: Sequence[str]) -> dict[str, T]:
    """The result of `step` for each signature, in their order. The first error cancels what is left."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {signature: group.create_task(step(signature)) for signature in dict.fromkeys(signatures)}
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return {signature: task.result() for signature, task in tasks.items()}

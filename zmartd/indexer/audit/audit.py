"""The audit: compares every market, position, vote count and fee of the index with the chain's accounts.

Both change while they are read. A market that differs at first is therefore compared again on its own until
its rows did not change while its accounts and its signatures were read. A transaction that the index lacks
by then is either newer than the audit, and about to arrive, or was lost.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from solders.pubkey import Pubkey

from zmartd.chain.answers import SignatureInfo
from zmartd.chain.raw import RawTransaction
from zmartd.chain.rpc import Rpc
from zmartd.chain.transport import RpcRejected, RpcUnusable
from zmartd.clock import Clock, SystemClock
from zmartd.indexer.audit.account_facts import (
    read_accounts,
    read_configuration_account,
    read_market_accounts,
)
from zmartd.indexer.audit.comparison import UNREADABLE, Difference, ProgramFacts, compare
from zmartd.indexer.audit.indexed_facts import (
    IndexedFacts,
    indexed_configuration_slot,
    read_index,
    read_indexed_configuration,
    read_indexed_markets,
)
from zmartd.indexer.audit.kept_sums import KeptDifference, kept_differences
from zmartd.indexer.events.incomplete import IncompleteTransaction, incomplete_transactions
from zmartd.indexer.plausibility import IMPOSSIBLE_SLOTS
from zmartd.indexer.walks.backfill import missing_transactions
from zmartd.indexer.walks.ranged import RangeWalk, SignatureRange
from zmartd.store.postgres.database import Database

PATIENCE_SECONDS = 5.0
"""How long a transaction that is older than the audit may still take to arrive."""

_PAUSE_SECONDS = 0.5
_MOST_FETCHED: Final = 20
"""Of the transactions that the index lacks of a market. The older ones are taken for the program's unseen."""


class AuditReport(Struct, frozen=True):
    """How much was compared, and what differs.

    `moving` are the addresses of markets that changed during each comparison, and of which no transaction
    older than the audit is missing: the audit says nothing about them.
    """

    slot: int
    markets: int
    positions: int
    differences: tuple[Difference, ...]
    moving: tuple[str, ...] = ()
    incomplete: tuple[IncompleteTransaction, ...] = ()
    """Transactions with truncated logs of which events are missing: what they did may be a difference."""
    kept: tuple[KeptDifference, ...] = ()
    """Sums that the index keeps, and that are not those of its own trades and positions."""

    @property
    def ok(self) -> bool:
        return not self.differences and not self.kept


class MarketComparison(Struct, frozen=True):
    """One comparison of a market. `missing` are transactions of the market that the index lacks."""

    differences: tuple[Difference, ...]
    version: int | None
    """The market's version in the index; None where it has no such market."""
    accounts: int
    """How many accounts of the market the chain has."""
    slot: int
    """The accounts were read at this slot or later."""
    changed_meanwhile: bool = False
    """Whether it did, or is about to: trades of it are still to be priced anew."""
    is_behind: bool = False
    """Whether the node, or one behind its address, was at a slot before what the index has applied."""
    missing: tuple[SignatureInfo, ...] = ()

    def lacks_until(self, slot: int) -> bool:
        """Whether the index lacks something that old, which a node that is not behind shows."""
        return not self.is_behind and any(one.slot <= slot for one in self.missing)

    def is_conclusive(self) -> bool:
        """Whether the differences are no artefact of reading both sides one after the other."""
        return not self.differences or not (self.changed_meanwhile or self.is_behind or self.missing)


async def audit(
    database: Database,
    rpc: Rpc,
    program_id: Pubkey,
    *,
    patience_seconds: float = PATIENCE_SECONDS,
    clock: Clock | None = None,
) -> AuditReport:
    """Compare the whole index with the whole chain. Read-only; waits only where something differs.

    Raises RpcUnavailable, RpcRejected, DatabaseUnavailable, DatabaseTimeout.
    """
    clock = clock or SystemClock()
    return await _Auditor(database, rpc, program_id, clock).audit(clock.monotonic() + patience_seconds)


async def compare_market(
    database: Database, rpc: Rpc, program_id: Pubkey, market: Pubkey, equal_slot: int = 0
) -> MarketComparison:
    """Compare one market with its accounts. Raises what `audit` raises.

    `equal_slot` is one at which nothing differed: what is missing is looked for from there on.

    Reads the rows, then the accounts, then the signatures, then the rows again: rows that did not change and
    hold every transaction hold all that the accounts can show. Unless the node is behind what they hold.
    """
    before = await read_one_market(database, market)
    on_chain = await read_market_accounts(rpc, program_id, market)
    differences = compare(before.facts, on_chain)
    version = before.versions.get(str(market))
    found = MarketComparison(differences, version, on_chain.accounts, on_chain.slot)
    if not differences:
        return found
    missing = await missing_signatures(database, rpc, market, equal_slot)
    changed = await read_one_market(database, market) != before or str(market) in before.unfinished
    is_behind = _is_behind(on_chain.slot, before.slots.get(str(market), 0))
    return replace(found, changed_meanwhile=changed, is_behind=is_behind, missing=missing)


async def compare_configuration(database: Database, rpc: Rpc, program_id: Pubkey) -> tuple[Difference, ...]:
    """Compare the configuration with its account. Raises what `audit` raises.

    A node that is behind what the index has applied shows no difference.
    """
    async with database.service() as connection:
        indexed = await read_indexed_configuration(connection)
        slot = await indexed_configuration_slot(connection)
    on_chain = await read_configuration_account(rpc, program_id)
    return () if _is_behind(on_chain.slot, slot) else compare(ProgramFacts({}, {}, indexed), on_chain)


def _is_behind(slot: int, applied_slot: int) -> bool:
    """Whether a node at `slot` lacks what the index has applied.

    What is further ahead than a node can be behind is forged, and has to be found.
    """
    return slot < applied_slot <= slot + IMPOSSIBLE_SLOTS


async def missing_signatures(
    database: Database, rpc: Rpc, address: Pubkey, from_slot: int = 0
) -> tuple[SignatureInfo, ...]:
    """The successful transactions since `from_slot` that mention `address` and have no event in the index,
    oldest first.

    Some of them may have none, like a payment to the account.
    """
    walk = await RangeWalk(rpc, address, SignatureRange(from_slot)).count()
    async with aclosing(walk.pages()) as pages:
        return tuple([one async for page in pages for one in await missing_transactions(database, page)])


async def without_strangers(rpc: Rpc, program_id: Pubkey, comparison: MarketComparison) -> MarketComparison:
    """The comparison without missing transactions that do not name the program, and so have no event.

    Anybody can mention a market in one, as by a payment to it. Raises RpcUnavailable.
    """
    missing = comparison.missing
    newest = missing[-_MOST_FETCHED:]
    named = await asyncio.gather(*(_names(rpc, program_id, one.signature) for one in newest))
    of_program = (one for one, it in zip(newest, named, strict=True) if it)
    return replace(comparison, missing=(*missing[:-_MOST_FETCHED], *of_program))


async def _names(rpc: Rpc, program_id: Pubkey, signature: str) -> bool:
    """Whether a transaction names the program, without which it has no event; true where nobody says."""
    try:
        found = msgspec.convert(await rpc.transaction(signature), RawTransaction | None)
    except (RpcUnusable, RpcRejected, msgspec.ValidationError):
        return True
    return found is None or str(program_id) in set(found.keys())


async def read_one_market(database: Database, market: Pubkey) -> IndexedFacts:
    """The facts of one market in the index."""
    async with database.service() as connection:
        return await read_indexed_markets(connection, [str(market)])


class _Auditor:
    """Both sides, and the clock that measures the patience."""

    def __init__(self, database: Database, rpc: Rpc, program_id: Pubkey, clock: Clock) -> None:
        self._database = database
        self._rpc = rpc
        self._program_id = program_id
        self._clock = clock

    async def audit(self, deadline: float) -> AuditReport:
        slot = await self._rpc.slot()
        indexed, on_chain = await self._read_all()
        first = compare(indexed, on_chain)
        # Accounts of no known market cannot be read any better.
        differences = [one for one in first if one.market is None and one.field == UNREADABLE]
        if any(one.market is None and one.field != UNREADABLE for one in first):
            differences += await self._compare_configuration(deadline)
        moving: list[str] = []
        for market in sorted({one.market for one in first if one.market is not None}):
            comparison = await self._compare_market(Pubkey.from_string(market), deadline)
            if comparison.is_conclusive() or comparison.lacks_until(slot):
                differences += comparison.differences
            else:
                moving.append(market)
        async with self._database.service() as connection:
            incomplete = await incomplete_transactions(connection)
        return AuditReport(
            slot,
            len(on_chain.markets),
            len(on_chain.positions),
            tuple(differences),
            tuple(moving),
            tuple(incomplete),
            await kept_differences(self._database),
        )

    async def _read_all(self) -> tuple[ProgramFacts, ProgramFacts]:
        async with self._database.service() as connection:
            indexed = await read_index(connection)
        return indexed.facts, await read_accounts(self._rpc, self._program_id)

    async def _compare_configuration(self, deadline: float) -> tuple[Difference, ...]:
        while True:
            found = await compare_configuration(self._database, self._rpc, self._program_id)
            if not found or self._clock.monotonic() >= deadline:
                return found
            await self._clock.sleep(_PAUSE_SECONDS)

    async def _compare_market(self, market: Pubkey, deadline: float) -> MarketComparison:
        while True:
            comparison = await compare_market(self._database, self._rpc, self._program_id, market)
            if comparison.is_conclusive() or self._clock.monotonic() >= deadline:
                return comparison
            await self._clock.sleep(_PAUSE_SECONDS)

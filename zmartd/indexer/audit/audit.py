"""The audit: every market, position, vote count and fee of the index against the accounts of the chain.

Both move while they are read. What differs at first is therefore looked at again, market by market, until
its rows stood still while its accounts and its history were read. What the index lacks of the history by
then is either newer than the audit, and on its way, or was lost.
"""

from __future__ import annotations

from contextlib import aclosing

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.answers import SignatureInfo
from zmartd.chain.rpc import Rpc
from zmartd.clock import Clock, SystemClock
from zmartd.indexer.audit.account_facts import read_accounts, read_market_accounts
from zmartd.indexer.audit.comparison import Difference, ProgramFacts, compare
from zmartd.indexer.audit.indexed_facts import IndexedFacts, read_index, read_indexed_market
from zmartd.indexer.walks.backfill import missing_transactions
from zmartd.indexer.walks.ranged import RangeWalk
from zmartd.store.postgres.database import Database

PATIENCE_SECONDS = 5.0
"""How long a transaction that is older than the audit may still take to arrive."""

_PAUSE_SECONDS = 0.5


class AuditReport(Struct, frozen=True):
    """How much was compared, and what differs.

    `moving` are the addresses of markets that changed whenever they were looked at, and lack nothing older
    than the audit: no verdict is possible about them, and nothing speaks against them.
    """

    slot: int
    markets: int
    positions: int
    differences: tuple[Difference, ...]
    moving: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.differences


class _Comparison(Struct, frozen=True):
    """One market looked at once. Its differences count for nothing while it is moving or incomplete."""

    differences: tuple[Difference, ...]
    changed_meanwhile: bool
    missing: tuple[SignatureInfo, ...]

    def lacks_until(self, slot: int) -> bool:
        return any(one.slot <= slot for one in self.missing)

    def is_conclusive(self) -> bool:
        return not self.differences or not (self.changed_meanwhile or self.missing)


async def audit(
    database: Database,
    rpc: Rpc,
    program_id: Pubkey,
    *,
    patience_seconds: float = PATIENCE_SECONDS,
    clock: Clock | None = None,
) -> AuditReport:
    """Compare the whole index with the whole chain. Only reads; without differences it waits for nothing.

    Raises RpcUnavailable, RpcRejected, UndecodableData, DatabaseUnavailable, DatabaseTimeout.
    """
    clock = clock or SystemClock()
    return await _Auditor(database, rpc, program_id, clock).audit(clock.monotonic() + patience_seconds)


async def missing_signatures(database: Database, rpc: Rpc, address: Pubkey) -> tuple[SignatureInfo, ...]:
    """The successful transactions that mention `address` and have no event in the index, oldest first.

    Some of them may have none to give, like a payment into the account.
    """
    survey = await RangeWalk(rpc, address).count()
    async with aclosing(survey.pages()) as pages:
        return tuple([one async for page in pages for one in await missing_transactions(database, page)])


class _Auditor:
    """Both sides, and the clock that patience is measured with."""

    def __init__(self, database: Database, rpc: Rpc, program_id: Pubkey, clock: Clock) -> None:
        self._database = database
        self._rpc = rpc
        self._program_id = program_id
        self._clock = clock

    async def audit(self, deadline: float) -> AuditReport:
        slot = await self._rpc.slot()
        indexed, on_chain = await self._read_all()
        first = compare(indexed, on_chain)
        differences: list[Difference] = []
        if any(one.market is None for one in first):
            differences += await self._configuration(deadline)
        moving: list[str] = []
        for market in sorted({one.market for one in first if one.market is not None}):
            look = await self._compare_patiently(Pubkey.from_string(market), deadline)
            if look.is_conclusive() or look.lacks_until(slot):
                differences += look.differences
            else:
                moving.append(market)
        return AuditReport(
            slot, len(on_chain.markets), len(on_chain.positions), tuple(differences), tuple(moving)
        )

    async def _read_all(self) -> tuple[ProgramFacts, ProgramFacts]:
        async with self._database.service() as connection:
            indexed = await read_index(connection)
        return indexed.state, await read_accounts(self._rpc, self._program_id)

    async def _configuration(self, deadline: float) -> list[Difference]:
        while True:
            found = [one for one in compare(*await self._read_all()) if one.market is None]
            if not found or self._clock.monotonic() >= deadline:
                return found
            await self._clock.sleep(_PAUSE_SECONDS)

    async def _compare_patiently(self, market: Pubkey, deadline: float) -> _Comparison:
        while True:
            look = await self._compare_market(market)
            if look.is_conclusive() or self._clock.monotonic() >= deadline:
                return look
            await self._clock.sleep(_PAUSE_SECONDS)

    async def _compare_market(self, market: Pubkey) -> _Comparison:
        """Rows, then accounts, then the history, then the rows again.

        When the rows stood still and hold the whole history, then they hold all that the accounts can show.
        """
        before = await self._indexed(market)
        on_chain = await read_market_accounts(self._rpc, self._program_id, market)
        differences = compare(before.state, on_chain)
        if not differences:
            return _Comparison((), changed_meanwhile=False, missing=())
        missing = await missing_signatures(self._database, self._rpc, market)
        return _Comparison(
            differences, changed_meanwhile=await self._indexed(market) != before, missing=missing
        )

    async def _indexed(self, market: Pubkey) -> IndexedFacts:
        async with self._database.service() as connection:
            return await read_indexed_market(connection, str(market))

"""Repairs an index that differs from the chain, whatever happened to it."""

from __future__ import annotations

import msgspec
from msgspec import Struct
from solders.commitment_config import CommitmentLevel
from solders.pubkey import Pubkey

from zmartd.chain.pdas import Pdas
from zmartd.chain.rpc import Rpc
from zmartd.indexer.audit.account_facts import read_accounts
from zmartd.indexer.audit.audit import PATIENCE_SECONDS, AuditReport, audit
from zmartd.indexer.audit.kept_sums import count_anew
from zmartd.indexer.events.incomplete import (
    IncompleteTransaction,
    accept_incomplete,
    incomplete_transactions,
)
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.parking import is_of_one_market
from zmartd.indexer.repair.correction import Corrector
from zmartd.indexer.repair.resync import Resync, ResyncReport
from zmartd.indexer.truncation.recovery import TruncationRecovery
from zmartd.indexer.walks.backfill import Progress, no_progress
from zmartd.log import get_logger
from zmartd.store.postgres.database import Database

log = get_logger(__name__)

_NO_PATIENCE = 0.0
_ADDRESSES = "select on_chain_address from markets where not orphaned"


class FailedMarket(Struct, frozen=True):
    """A market, by its address, that could not be resynced. It is as it was."""

    market: str
    error: str


class RepairReport(Struct, frozen=True):
    """What was done, the audit after it, and the markets that could not be resynced."""

    done: ResyncReport
    report: AuditReport
    corrected: tuple[str, ...] = ()
    """The addresses of the accounts that the index was corrected from, for want of events."""
    failed: tuple[FailedMarket, ...] = ()

    @property
    def ok(self) -> bool:
        return self.report.ok and not (self.done.not_found or self.done.parked or self.failed)


class Repairer:
    """Repairs what an audit finds, or everything. Raises what `audit` and `Resync` raise."""

    def __init__(self, rpc: Rpc, fetcher: Fetcher, database: Database, program_id: Pubkey) -> None:
        self._rpc = rpc
        self._fetcher = fetcher
        self._database = database
        self._program_id = program_id
        self._resync = Resync(rpc, fetcher, database, program_id)
        self._corrector = Corrector(rpc, fetcher, database, program_id)
        self._recovery = TruncationRecovery(rpc, fetcher, database, program_id)

    async def repair(self, progress: Progress = no_progress) -> RepairReport:
        """Add the missing events of every market that differs; resync those where that does not help.

        The first audits have no patience: a transaction that is about to arrive may as well be fetched.
        """
        report = await self._audit(_NO_PATIENCE)
        done = ResyncReport()
        altered: set[Pubkey] = set()
        for market in _markets(report):
            added = await self._add_missing(market)
            done += added
            if not added.written:
                altered.add(market)
        report = await self._audit(_NO_PATIENCE)
        altered.update(_markets(report))
        failed: tuple[FailedMarket, ...] = ()
        if altered or not report.ok:
            resynced, failed = await self._resync_markets(sorted(altered, key=str), progress)
            done += resynced
        return await self._corrected(done, failed)

    async def repair_everything(self, progress: Progress = no_progress) -> RepairReport:
        """Resync the configuration and every market, also where no account shows a difference."""
        on_chain = await read_accounts(self._rpc, self._program_id)
        async with self._database.service() as connection:
            indexed = [row["on_chain_address"] for row in await connection.fetch(_ADDRESSES)]
        markets = sorted({*on_chain.markets, *indexed})
        addresses = [Pubkey.from_string(market) for market in markets]
        return await self._corrected(*await self._resync_markets(addresses, progress))

    async def _corrected(self, done: ResyncReport, failed: tuple[FailedMarket, ...]) -> RepairReport:
        """Correct from accounts what transactions that cannot be read have changed, and audit everything.

        The configuration comes first: what follows from it can be inferred then.
        """
        report = await self._audit()
        corrected = await self._corrector.correct_configuration(report)
        if corrected:
            await self._accept(await self._audit())
            await self._recover()
            report = await self._audit()
        markets = await self._corrector.correct_markets(report)
        if markets:
            report = await self._audit()
        if report.kept:
            await count_anew(self._database)
            report = await self._audit()
        incomplete = await self._accept(report)
        report = msgspec.structs.replace(report, incomplete=incomplete)
        return RepairReport(done, report, corrected + markets, failed)

    async def _accept(self, report: AuditReport) -> tuple[IncompleteTransaction, ...]:
        """Accept incomplete transactions after which nothing differs any more. Returns the others."""
        configuration = str(Pdas(self._program_id).global_config())
        differing = {*report.moving, *(one.market or configuration for one in report.differences)}
        async with self._database.service() as connection:
            await accept_incomplete(connection, report.slot, sorted(differing))
            return tuple(await incomplete_transactions(connection))

    async def _recover(self) -> None:
        final_slot = await self._rpc.slot(CommitmentLevel.Finalized)
        while (await self._recovery.run(final_slot)).resolved:
            pass

    async def _add_missing(self, market: Pubkey) -> ResyncReport:
        """Nothing is added to a market of which not even the rows can be read: it will be resynced."""
        try:
            return await self._resync.add_missing(market)
        except Exception as error:
            if not is_of_one_market(error):
                raise
            log.warning("repair.not_added", market=str(market), exc_info=error)
            return ResyncReport()

    async def _resync_markets(
        self, markets: list[Pubkey], progress: Progress
    ) -> tuple[ResyncReport, tuple[FailedMarket, ...]]:
        """Resync markets. One that fails holds up no other, and is returned with its error."""
        done = await self._resync.resync_configuration()
        failed: list[FailedMarket] = []
        progress(0, len(markets))
        for number, market in enumerate(markets, start=1):
            try:
                done += await self._resync.resync(market)
            except Exception as error:
                if not is_of_one_market(error):
                    raise
                log.warning("repair.not_resynced", market=str(market), exc_info=error)
                failed.append(FailedMarket(str(market), f"{type(error).__name__}: {error}"))
            progress(number, len(markets))
        await self._recover()
        return done, tuple(failed)

    async def _audit(self, patience_seconds: float = PATIENCE_SECONDS) -> AuditReport:
        await self._fetcher.indexer.reprice_everything()
        return await audit(self._database, self._rpc, self._program_id, patience_seconds=patience_seconds)


def _markets(report: AuditReport) -> list[Pubkey]:
    differing = {one.market for one in report.differences if one.market is not None}
    return [Pubkey.from_string(market) for market in sorted(differing)]

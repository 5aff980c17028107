"""Resyncs a market or the configuration: makes the event rows equal to the chain, and rebuilds from them.

Nothing is copied from accounts. Event rows become what the transactions say, and the market is rebuilt from
its event rows; so it does not matter which table was altered, nor by whom. Inferred events of truncated logs
are removed, where a recovery can infer them again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Container, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime

from msgspec import Struct
from solders.commitment_config import CommitmentLevel
from solders.pubkey import Pubkey

from zmartd.chain.answers import SignatureInfo
from zmartd.chain.commitment import Commitment
from zmartd.chain.pdas import Pdas
from zmartd.chain.program_accounts import find_market
from zmartd.chain.rpc import Rpc
from zmartd.chain.transactions import ChainTransaction, is_signature
from zmartd.indexer.effects.configuration import CONFIGURATION_EVENTS
from zmartd.indexer.effects.markets import known_addresses
from zmartd.indexer.events.recording import TransactionInSlot
from zmartd.indexer.events.rows import event_row
from zmartd.indexer.fetch import Fetched, Fetcher
from zmartd.indexer.parking import park
from zmartd.indexer.rebuild.event_diff import EventDiff, diff_events
from zmartd.indexer.walks.backfill import batches, missing_transactions
from zmartd.indexer.walks.ranged import RangeWalk
from zmartd.market.iso_time import utc_from_unix
from zmartd.store.parked import Unapplied
from zmartd.store.postgres.database import Database

_BATCH = 100
_OF_MARKET = "select distinct tx_signature, slot from program_events where market_id = $1"
_OF_CONFIGURATION = "select tx_signature, slot from admin_events where event_type = any($1::text[])"
_ID = "select id from markets where on_chain_address = $1"


class ResyncReport(Struct, frozen=True):
    """How many transactions were fetched, how many event rows removed and written, what was not found, and
    what was parked because it could not be read.
    """

    transactions: int = 0
    removed: int = 0
    written: int = 0
    not_found: tuple[str, ...] = ()
    parked: tuple[Unapplied, ...] = ()

    def __add__(self, other: ResyncReport) -> ResyncReport:
        return ResyncReport(
            self.transactions + other.transactions,
            self.removed + other.removed,
            self.written + other.written,
            self.not_found + other.not_found,
            self.parked + other.parked,
        )


class _Findings(Struct):
    """What comparing transactions with their rows has found so far. Holds only those that differ."""

    transactions: int = 0
    diff: EventDiff = EventDiff()
    incomplete: dict[Commitment, list[ChainTransaction]] = {}
    not_found: tuple[str, ...] = ()
    parked: tuple[Unapplied, ...] = ()

    def report(self) -> ResyncReport:
        return ResyncReport(
            self.transactions,
            len(self.diff.to_remove),
            len(self.diff.to_record),
            self.not_found,
            self.parked,
        )


class Resync:
    """Makes the index equal to the chain, one market at a time.

    Takes memory in proportion to the market's events. All methods raise RpcUnavailable, RpcRejected,
    HistoryChanged, DatabaseUnavailable, DatabaseTimeout.
    """

    def __init__(self, rpc: Rpc, fetcher: Fetcher, database: Database, program_id: Pubkey) -> None:
        self._rpc = rpc
        self._fetcher = fetcher
        self._database = database
        self._program_id = program_id
        self._pdas = Pdas(program_id)

    async def add_missing(self, market: Pubkey) -> ResyncReport:
        """Write the events of a market that are missing, and rebuild it if there are any."""
        findings, identity = _Findings(), await self._identity(market)
        async for batch in self._listed(market):
            await self._compare_listed(findings, await missing_transactions(self._database, batch), identity)
        if not findings.diff and not findings.incomplete:
            return findings.report()
        return await self._replace(findings, identity)

    async def resync(self, market: Pubkey) -> ResyncReport:
        """Fetch all transactions of a market, replace the event rows that differ, and rebuild it."""
        findings, identity = _Findings(), await self._identity(market)
        listed: set[str] = set()
        async for batch in self._listed(market):
            listed.update(one.signature for one in batch)
            await self._compare_listed(findings, batch, identity)
        for market_id in identity.values():
            stored = await self._stored(_OF_MARKET, market_id)
            await self._compare_unlisted(findings, stored, listed, identity)
        return await self._replace(findings, identity, compared=identity.values())

    async def resync_configuration(self) -> ResyncReport:
        """The same for the program's configuration. Fetches what configured it, and what the index lacks."""
        findings = _Findings()
        async for batch in self._listed(self._pdas.global_config()):
            await self._compare_listed(findings, await missing_transactions(self._database, batch), {})
        stored = await self._stored(_OF_CONFIGURATION, sorted(CONFIGURATION_EVENTS))
        await self._compare_unlisted(findings, stored, (), {})
        report = await self._replace(findings, {})
        await self._fetcher.indexer.rebuild_configuration(await self._chain_time())
        return report

    async def _listed(self, address: Pubkey) -> AsyncIterator[Sequence[SignatureInfo]]:
        """What the node lists for an address, in batches."""
        walk = await RangeWalk(self._rpc, address).count()
        async with aclosing(walk.pages()) as pages:
            async for page in pages:
                for batch in batches(page):
                    yield batch

    async def _identity(self, market: Pubkey) -> dict[str, str]:
        """The market's address with its id: from its account, or from the index if it has no account."""
        found = await find_market(self._rpc, self._program_id, market)
        if found is not None:
            return {str(market): found.id}
        async with self._database.service() as connection:
            market_id = await connection.fetchval(_ID, str(market))
        return {} if market_id is None else {str(market): market_id}

    async def _stored(self, query: str, argument: object) -> list[TransactionInSlot]:
        async with self._database.service() as connection:
            rows = await connection.fetch(query, argument)
        return sorted({TransactionInSlot(row["slot"], row["tx_signature"]) for row in rows})

    async def _compare_listed(
        self, findings: _Findings, listed: Sequence[SignatureInfo], identity: Mapping[str, str]
    ) -> None:
        """Compare transactions that the node lists with their rows. Those that cannot be read keep theirs."""
        fetched = await self._compare(findings, [one.signature for one in listed], identity)
        unapplied = fetched.unapplied({one.signature: one.slot for one in listed})
        await park(self._database, unapplied)
        findings.not_found += fetched.not_found
        findings.parked += tuple(unapplied)

    async def _compare_unlisted(
        self,
        findings: _Findings,
        stored: Sequence[TransactionInSlot],
        listed: Container[str],
        identity: Mapping[str, str],
    ) -> None:
        """Compare indexed transactions that the node does not list. Removes those that the chain lacks."""
        unlisted = [one for one in stored if one.signature not in listed]
        if not unlisted:
            return
        kept_from = await self._rpc.first_available_block()
        for start in range(0, len(unlisted), _BATCH):
            batch = unlisted[start : start + _BATCH]
            possible = [one.signature for one in batch if is_signature(one.signature)]
            found = set(possible).difference((await self._compare(findings, possible, identity)).not_found)
            gone = [one.signature for one in batch if one.signature not in found and one.slot >= kept_from]
            async with self._database.service() as connection:
                findings.diff += await diff_events(connection, (), gone, (), {})

    async def _compare(
        self, findings: _Findings, signatures: Sequence[str], identity: Mapping[str, str]
    ) -> Fetched:
        """Fetch transactions and compare them with their rows."""
        if not signatures:
            return Fetched()
        final_slot = await self._rpc.slot(CommitmentLevel.Finalized)
        fetched = await self._fetcher.fetch(signatures)
        succeeded = [tx for tx in fetched.transactions if tx.succeeded]
        rows = [event_row(tx, record, self._pdas) for tx in succeeded for record in tx.events]
        partial = {
            tx.signature for tx in succeeded if tx.logs_truncated and not _can_be_inferred(tx, final_slot)
        }
        async with self._database.service() as connection:
            addresses = {**await known_addresses(connection, rows), **identity}
            findings.diff += await diff_events(
                connection, rows, [tx.signature for tx in fetched.transactions], partial, addresses
            )
        findings.transactions += len(fetched.transactions)
        for tx in succeeded:
            if tx.logs_truncated or tx.quarantined:
                commitment: Commitment = "finalized" if tx.slot <= final_slot else "confirmed"
                findings.incomplete.setdefault(commitment, []).append(tx)
        return fetched

    async def _replace(
        self, findings: _Findings, identity: Mapping[str, str], compared: Iterable[str] = ()
    ) -> ResyncReport:
        market_addresses = {market_id: address for address, market_id in identity.items()}
        await self._fetcher.indexer.replace_events(
            findings.diff,
            market_addresses,
            findings.incomplete,
            await self._chain_time(),
            compared=compared,
        )
        return findings.report()

    async def _chain_time(self) -> datetime:
        return utc_from_unix((await self._rpc.chain_time()).unix_timestamp)


def _can_be_inferred(transaction: ChainTransaction, final_slot: int) -> bool:
    """Whether a recovery can infer the events that the transaction's logs lack."""
    return transaction.calls is not None and transaction.slot <= final_slot

"""Markets whose rows differ from the chain, made equal to it again: what they lack, or all that they have.

Nothing is copied from accounts. Event rows become what the transactions say, and the market is built again
from its event rows; so it does not matter what was altered in which table, nor by whom. Events that truncated
logs leave out are taken away for a restoration to work them out again, where it can.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Container, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime

from msgspec import Struct
from solders.commitment_config import CommitmentLevel
from solders.pubkey import Pubkey

from zmartd.chain.pdas import Pdas
from zmartd.chain.program_accounts import find_market
from zmartd.chain.rpc import Rpc
from zmartd.chain.transactions import ChainTransaction, is_signature
from zmartd.indexer.effects.configuration import CONFIGURATION_EVENTS
from zmartd.indexer.effects.markets import known_addresses
from zmartd.indexer.events.recording import TransactionInSlot, known_signatures
from zmartd.indexer.events.rows import event_row, utc_from_unix
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.rebuild.event_diff import EventDiff, diff_events
from zmartd.indexer.walks.ranged import RangeWalk
from zmartd.store.postgres.database import Database

_BATCH = 100
_OF_MARKET = "select distinct tx_signature, slot from program_events where market_id = $1"
_OF_CONFIGURATION = "select tx_signature, slot from admin_events where event_type = any($1::text[])"
_ID = "select id from markets where on_chain_address = $1"


class ResyncReport(Struct, frozen=True):
    """Transactions fetched, event rows that were taken away and written, and transactions not to be had."""

    transactions: int = 0
    removed: int = 0
    written: int = 0
    not_found: tuple[str, ...] = ()

    def __add__(self, other: ResyncReport) -> ResyncReport:
        return ResyncReport(
            self.transactions + other.transactions,
            self.removed + other.removed,
            self.written + other.written,
            self.not_found + other.not_found,
        )


class _Findings(Struct):
    """What came of fetching transactions so far. It holds only those that differ."""

    transactions: int = 0
    correction: EventDiff = EventDiff()
    incomplete: tuple[ChainTransaction, ...] = ()
    not_found: tuple[str, ...] = ()

    def report(self) -> ResyncReport:
        return ResyncReport(
            self.transactions, len(self.correction.wrong), len(self.correction.right), self.not_found
        )


class Resync:
    """Makes the index equal to the chain, a market at a time.

    This takes the memory of the largest market's events. Everything raises RpcUnavailable, RpcRejected,
    HistoryChanged, DatabaseUnavailable, DatabaseTimeout.
    """

    def __init__(self, rpc: Rpc, fetcher: Fetcher, database: Database, program_id: Pubkey) -> None:
        self._rpc = rpc
        self._fetcher = fetcher
        self._database = database
        self._program_id = program_id
        self._pdas = Pdas(program_id)

    async def add_missing(self, market: Pubkey) -> ResyncReport:
        """Write what is missing of a market's history, and build it again. Does nothing if nothing is."""
        looked, identity = _Findings(), await self._identity(market)
        async for signatures in self._history(market):
            await self._compare_market(looked, await self._unknown(signatures), identity)
        if not looked.correction and not looked.incomplete:
            return looked.report()
        return await self._correct(looked, identity)

    async def resync(self, market: Pubkey) -> ResyncReport:
        """Fetch a market's whole history, replace what the index has otherwise, and build it again."""
        looked, identity = _Findings(), await self._identity(market)
        told: set[str] = set()
        async for signatures in self._history(market):
            told.update(signatures)
            await self._compare_market(looked, signatures, identity)
        for market_id in identity.values():
            await self._look_for(looked, await self._stored(_OF_MARKET, market_id), told, identity)
        return await self._correct(looked, identity)

    async def resync_configuration(self) -> ResyncReport:
        """The same for the program's configuration: what the index lacks of its history, and what it has."""
        looked = _Findings()
        async for signatures in self._history(self._pdas.global_config()):
            await self._compare_market(looked, await self._unknown(signatures), {})
        stored = await self._stored(_OF_CONFIGURATION, sorted(CONFIGURATION_EVENTS))
        await self._look_for(looked, stored, (), {})
        report = await self._correct(looked, {})
        await self._fetcher.indexer.rebuild_configuration(await self._now())
        return report

    async def _history(self, address: Pubkey) -> AsyncIterator[list[str]]:
        survey = await RangeWalk(self._rpc, address).count()
        async with aclosing(survey.pages()) as pages:
            async for page in pages:
                for start in range(0, len(page), _BATCH):
                    yield [one.signature for one in page[start : start + _BATCH]]

    async def _identity(self, market: Pubkey) -> dict[str, str]:
        """The market's address and its id, which its account says, or the index where there is no account."""
        found = await find_market(self._rpc, self._program_id, market)
        if found is not None:
            return {str(market): found.id}
        async with self._database.service() as connection:
            market_id = await connection.fetchval(_ID, str(market))
        return {} if market_id is None else {str(market): market_id}

    async def _unknown(self, signatures: Sequence[str]) -> list[str]:
        async with self._database.service() as connection:
            known = await known_signatures(connection, signatures)
        return [signature for signature in signatures if signature not in known]

    async def _stored(self, query: str, argument: object) -> list[TransactionInSlot]:
        async with self._database.service() as connection:
            rows = await connection.fetch(query, argument)
        return sorted({TransactionInSlot(row["slot"], row["tx_signature"]) for row in rows})

    async def _compare_market(
        self, looked: _Findings, signatures: Sequence[str], identity: Mapping[str, str]
    ) -> None:
        """Compare transactions of a history with their rows."""
        looked.not_found += await self._fetch(looked, signatures, identity)

    async def _fetch(
        self, looked: _Findings, signatures: Sequence[str], identity: Mapping[str, str]
    ) -> tuple[str, ...]:
        """Fetch transactions and compare them with their rows; returns those that were not found."""
        if not signatures:
            return ()
        final_slot = await self._rpc.slot(CommitmentLevel.Finalized)
        fetched = await self._fetcher.fetch(signatures)
        told = [tx for tx in fetched.transactions if tx.succeeded]
        rows = [event_row(tx, record, self._pdas) for tx in told for record in tx.events]
        async with self._database.service() as connection:
            addresses = {**await known_addresses(connection, rows), **identity}
            looked.correction += await diff_events(
                connection,
                rows,
                [tx.signature for tx in fetched.transactions],
                {tx.signature for tx in told if tx.logs_truncated and not _can_be_worked_out(tx, final_slot)},
                addresses,
            )
        looked.transactions += len(fetched.transactions)
        looked.incomplete += tuple(tx for tx in told if tx.logs_truncated or tx.quarantined)
        return fetched.not_found

    async def _look_for(
        self,
        looked: _Findings,
        stored: Sequence[TransactionInSlot],
        told: Container[str],
        identity: Mapping[str, str],
    ) -> None:
        """Do the same with transactions that no history names. Those that are on no chain have to go."""
        untold = [one for one in stored if one.signature not in told]
        if not untold:
            return
        kept_from = await self._rpc.first_available_block()
        for start in range(0, len(untold), _BATCH):
            batch = untold[start : start + _BATCH]
            possible = [one.signature for one in batch if is_signature(one.signature)]
            found = set(possible).difference(await self._fetch(looked, possible, identity))
            gone = [one.signature for one in batch if one.signature not in found and one.slot >= kept_from]
            async with self._database.service() as connection:
                looked.correction += await diff_events(connection, (), gone, (), {})

    async def _correct(self, looked: _Findings, identity: Mapping[str, str]) -> ResyncReport:
        market_addresses = {market_id: address for address, market_id in identity.items()}
        await self._fetcher.indexer.replace_events(
            looked.correction, market_addresses, looked.incomplete, await self._now()
        )
        return looked.report()

    async def _now(self) -> datetime:
        """The chain's time."""
        return utc_from_unix((await self._rpc.chain_time()).unix_timestamp)


def _can_be_worked_out(transaction: ChainTransaction, final_slot: int) -> bool:
    """Whether a restoration knows what the logs of a transaction leave out."""
    return transaction.calls is not None and transaction.slot <= final_slot

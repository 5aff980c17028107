"""Corrects the index from accounts, where transactions cannot be read and no event can be inferred."""

from __future__ import annotations

from collections.abc import Container

from solders.pubkey import Pubkey

from zmartd.chain.pdas import Pdas
from zmartd.chain.program_accounts import find_market
from zmartd.chain.rpc import Rpc
from zmartd.indexer.audit.account_facts import read_configuration_account, read_market_accounts
from zmartd.indexer.audit.audit import AuditReport, missing_signatures, read_one_market
from zmartd.indexer.audit.comparison import UNREADABLE
from zmartd.indexer.audit.indexed_facts import read_indexed_configuration
from zmartd.indexer.effects.configuration import ConfigurationCorrection
from zmartd.indexer.effects.facts import ConfigurationFacts
from zmartd.indexer.events.incomplete import IncompleteTransaction
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.parking import is_of_one_market
from zmartd.indexer.rebuild.corrections import Correction
from zmartd.log import get_logger
from zmartd.market.iso_time import utc_from_unix
from zmartd.store.postgres.database import Database

_SET_TOGETHER = (
    ("admin", "backend_authority"),
    (
        "protocol_fee_bps",
        "resolver_reward_bps",
        "liquidity_provider_fee_bps",
        "proposal_approval_threshold",
        "dispute_success_threshold",
        "min_resolution_delay",
        "dispute_period",
    ),
    ("is_paused",),
)
"""The fields of the configuration that an event sets, for each kind of event."""

_SLOT = "select slot from markets where on_chain_address = $1"

log = get_logger(__name__)


class Corrector:
    """Makes the rows of markets, and of the configuration, equal to their accounts.

    Only of those that can be decoded and that an incomplete transaction changes: any other difference is not
    understood, and stays visible.
    """

    def __init__(self, rpc: Rpc, fetcher: Fetcher, database: Database, program_id: Pubkey) -> None:
        self._rpc = rpc
        self._fetcher = fetcher
        self._database = database
        self._program_id = program_id
        self._configuration = Pdas(program_id).global_config()

    async def correct_markets(self, report: AuditReport) -> tuple[str, ...]:
        """Correct the markets that differ. Returns their addresses. Raises what `audit` raises.

        One that cannot be read keeps no other from being corrected.
        """
        explained = {address for one in report.incomplete for address in one.changes}
        differing = {one.market for one in report.differences if one.market in explained}
        differing -= {one.market for one in report.differences if one.field == UNREADABLE}
        return tuple(
            [address for address in sorted(filter(None, differing)) if await self._is_corrected(address)]
        )

    async def correct_configuration(self, report: AuditReport) -> tuple[str, ...]:
        """Correct the configuration where an incomplete transaction changed it. Returns its address if so.

        Raises what `audit` raises.
        """
        changing = [one for one in report.incomplete if str(self._configuration) in one.changes]
        unreadable = any(one.market is None and one.field == UNREADABLE for one in report.differences)
        if unreadable or not changing:
            return ()
        known = {one.signature for one in report.incomplete}
        last = max(changing, key=lambda one: one.slot)
        corrected = await self._correct_configuration(last, known)
        return (str(self._configuration),) if corrected else ()

    async def _is_corrected(self, address: str) -> bool:
        try:
            return await self._correct_market(Pubkey.from_string(address))
        except Exception as error:
            if not is_of_one_market(error):
                raise
            log.warning("repair.not_corrected", address=address, exc_info=error)
            return False

    async def _correct_configuration(self, last: IncompleteTransaction, incomplete: Container[str]) -> bool:
        """Whether it was corrected. Only what differs is: events after the `last` incomplete transaction have
        said the rest."""
        before = await self._indexed_configuration()
        read = await read_configuration_account(self._rpc, self._program_id)
        if read.unreadable:
            return False
        on_chain = read.configuration
        facts = ConfigurationFacts(
            **{
                name: getattr(on_chain, name)
                for names in _SET_TOGETHER
                if any(getattr(before, name) != getattr(on_chain, name) for name in names)
                for name in names
            }
        )
        if facts == ConfigurationFacts() or await self._is_being_configured(incomplete):
            return False
        if await self._indexed_configuration() != before:
            return False
        at = utc_from_unix((await self._rpc.chain_time()).unix_timestamp)
        correction = ConfigurationCorrection(last.signature, last.slot, facts)
        await self._fetcher.indexer.correct_configuration(correction, at)
        return True

    async def _indexed_configuration(self) -> ConfigurationFacts:
        async with self._database.service() as connection:
            return await read_indexed_configuration(connection)

    async def _is_being_configured(self, incomplete: Container[str]) -> bool:
        """Whether a transaction that the index lacks, and will have, changes the configuration."""
        listed = await missing_signatures(self._database, self._rpc, self._configuration)
        fetched = await self._fetcher.fetch(
            [one.signature for one in listed if one.signature not in incomplete]
        )
        return any(str(self._configuration) in one.changes for one in fetched.transactions)

    async def _correct_market(self, address: Pubkey) -> bool:
        """Whether it was corrected. It is not while it moves: nothing may have happened to it from before the
        accounts are read until the slot of the correction."""
        found = await find_market(self._rpc, self._program_id, address)
        if found is None:
            return False
        started = await self._rpc.chain_time()
        async with self._database.service() as connection:
            indexed_slot: int = await connection.fetchval(_SLOT, str(address)) or 0
        before = await read_one_market(self._database, address)
        on_chain = await read_market_accounts(self._rpc, self._program_id, address)
        ended = await self._rpc.chain_time()
        missing = await missing_signatures(self._database, self._rpc, address)
        moved = await read_one_market(self._database, address) != before
        if (
            moved
            or on_chain.unreadable
            or max(indexed_slot, *(one.slot for one in missing), 0) > started.slot
        ):
            return False
        market = on_chain.markets[str(address)]
        positions = {wallet: facts for (_, wallet), facts in on_chain.positions.items()}
        at = utc_from_unix(ended.unix_timestamp)
        await self._fetcher.indexer.correct(Correction(found.id, ended.slot, market, positions, at), address)
        return True

"""Corrects the index from accounts, where transactions cannot be read and no event can be inferred."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.pdas import Pdas
from zmartd.chain.program_accounts import find_market
from zmartd.chain.rpc import Rpc
from zmartd.indexer.audit.account_facts import read_market_accounts
from zmartd.indexer.audit.audit import (
    AuditReport,
    compare_configuration,
    missing_signatures,
    read_one_market,
)
from zmartd.indexer.audit.comparison import MarketFacts, PositionFacts, ProgramFacts
from zmartd.indexer.events.rows import utc_from_unix
from zmartd.indexer.fetch import Fetcher
from zmartd.indexer.rebuild.corrections import CorrectedFact, Correction
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE
from zmartd.store.postgres.database import Database

_ABSENT: dict[str, Any] = dict.fromkeys(
    (
        *("creator", "b_parameter", "initial_liquidity", "resolver", "dispute_initiator", "content_id"),
        *("proposed_outcome", "final_outcome"),
    )
) | {"state": MarketState.PROPOSED.name, "price_yes": SCALE // 2, "was_disputed": False}
_NO_MARKET = MarketFacts(**dict.fromkeys(MarketFacts.__struct_fields__, 0) | _ABSENT)
_UNCLAIMED: dict[str, Any] = {"has_claimed": False}
_NO_POSITION = PositionFacts(**dict.fromkeys(PositionFacts.__struct_fields__, 0) | _UNCLAIMED)
_ALWAYS = frozenset({"content_id"})
"""A resolution decides of what it is the id, so that it may have to be written although it is the same."""


class Corrector:
    """Makes the rows of markets, and of the configuration, equal to their accounts.

    Only of those that an incomplete transaction changes: any other difference is not understood, and stays
    visible.
    """

    def __init__(self, rpc: Rpc, fetcher: Fetcher, database: Database, program_id: Pubkey) -> None:
        self._rpc = rpc
        self._fetcher = fetcher
        self._database = database
        self._program_id = program_id

    async def correct(self, report: AuditReport) -> tuple[str, ...]:
        """Correct what differs. Returns the addresses of the accounts. Raises what `audit` raises."""
        configuration = str(Pdas(self._program_id).global_config())
        differing = {one.market or configuration for one in report.differences}
        explained = {address for one in report.incomplete for address in one.changes}
        known = {one.signature for one in report.incomplete}
        corrected = []
        for address in sorted(differing & explained):
            if address == configuration:
                await self._correct_configuration()
            elif not await self._correct_market(Pubkey.from_string(address), known):
                continue
            corrected.append(address)
        return tuple(corrected)

    async def _correct_configuration(self) -> None:
        differences = await compare_configuration(self._database, self._rpc, self._program_id)
        facts = {one.field: one.on_chain for one in differences}
        await self._fetcher.indexer.correct_configuration(facts)

    async def _correct_market(self, address: Pubkey, incomplete: Container[str]) -> bool:
        """Whether it was corrected. It is not while it moves, or a transaction of it is missing that is not
        among the `incomplete` ones."""
        found = await find_market(self._rpc, self._program_id, address)
        if found is None:
            return False
        before = await read_one_market(self._database, address)
        on_chain = await read_market_accounts(self._rpc, self._program_id, address)
        time = await self._rpc.chain_time()
        missing = await missing_signatures(self._database, self._rpc, address)
        moved = await read_one_market(self._database, address) != before
        if moved or any(one.signature not in incomplete for one in missing):
            return False
        facts = tuple(_differing(str(address), before.facts, on_chain))
        correction = Correction(found.id, time.slot, facts, utc_from_unix(time.unix_timestamp))
        await self._fetcher.indexer.correct(correction, address)
        return True


def _differing(address: str, indexed: ProgramFacts, on_chain: ProgramFacts) -> Iterator[CorrectedFact]:
    ours, theirs = (facts.markets.get(address, _NO_MARKET) for facts in (indexed, on_chain))
    yield from _fields(None, ours, theirs)
    for key in sorted(indexed.positions.keys() | on_chain.positions.keys()):
        held, holds = (facts.positions.get(key, _NO_POSITION) for facts in (indexed, on_chain))
        yield from _fields(key[1], held, holds)


def _fields(wallet: str | None, indexed: Struct, on_chain: Struct) -> Iterator[CorrectedFact]:
    for name in indexed.__struct_fields__:
        ours, theirs = getattr(indexed, name), getattr(on_chain, name)
        if ours != theirs or name in _ALWAYS:
            yield CorrectedFact(wallet, name, ours, theirs)

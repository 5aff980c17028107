"""Groups of markets that are compared together: those whose addresses begin with the same bytes.

A node lists the positions and the votes of a whole group in two requests, since these accounts hold their
market's address at one place, and gives a hundred markets' own accounts in one.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.rpc import Rpc
from zmartd.indexer.audit.account_facts import read_accounts_of
from zmartd.indexer.audit.comparison import compare
from zmartd.indexer.audit.indexed_facts import read_indexed_markets
from zmartd.store import market_audits
from zmartd.store.market_audits import AddressRange, Audited
from zmartd.store.postgres.database import Database

FEW: Final = 1_000
"""So many markets are one group. More are in 256: of a hundred thousand, some 390 are in each."""


def prefix_length(markets: int) -> int:
    """How many bytes the addresses of a group share, where there are so many markets."""
    return 0 if markets <= FEW else 1


def addresses_with(prefix: bytes) -> AddressRange:
    """The first and the last address that begin with these bytes."""
    rest = Pubkey.LENGTH - len(prefix)
    first, last = (Pubkey.from_bytes(prefix + end * rest) for end in (b"\0", b"\xff"))
    return AddressRange(str(first), str(last), begins_with_zero=prefix[:1] == b"\0" if prefix else None)


class GroupComparison(Struct, frozen=True):
    """What comparing a group has shown. The others of the group differ, and have to be looked at alone."""

    equal: tuple[Audited, ...]
    accounts: int
    """How many were read."""


async def compare_group(database: Database, rpc: Rpc, program_id: Pubkey, prefix: bytes) -> GroupComparison:
    """Compare the markets of the index whose addresses begin with `prefix`.

    Raises RpcUnavailable, RpcRejected, DatabaseUnavailable, DatabaseTimeout.
    """
    async with database.service_reader() as reader:
        members = await market_audits.members(reader, addresses_with(prefix))
    async with database.service() as connection:
        indexed = await read_indexed_markets(connection, members)
    on_chain = await read_accounts_of(rpc, program_id, [Pubkey.from_string(one) for one in members], prefix)
    doubtful = {one.market for one in compare(indexed.facts, on_chain)}
    positions = Counter(market for market, _ in on_chain.positions)
    equal = tuple(
        Audited(
            address=address,
            version=version,
            slot=on_chain.slot,
            accounts=1 + positions[address] + facts.proposal_votes + facts.dispute_votes,
        )
        for address, version in indexed.versions.items()
        if address not in doubtful and (facts := on_chain.markets.get(address)) is not None
    )
    return GroupComparison(equal, on_chain.accounts)

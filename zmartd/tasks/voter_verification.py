"""Verifies the voters of a dispute against the chain before their votes are counted, in bounded steps.

For a while the index can contain what is not on the chain: an event of a slot that is not final, or one that
was forged with a stolen webhook credential. A disputed market is not traded, so its positions do not change
meanwhile. What was verified is in the database, with what the index had then, so that the next run goes on
where this one stops; a vote counts only while the index still has that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from solders.pubkey import Pubkey

from zmartd.chain.accounts import UserPosition, VoteRecord
from zmartd.chain.answers import ChainAccount
from zmartd.chain.program import Program
from zmartd.chain.program_accounts import decode_account
from zmartd.chain.rpc import ACCOUNTS_PER_REQUEST, Rpc
from zmartd.chain.wire import UndecodableData
from zmartd.errors import ZmartdError
from zmartd.market.lifecycle import VoteKind
from zmartd.store import electorates, voter_checks, voters
from zmartd.store.postgres.database import Database
from zmartd.store.voters import HolderWhoVoted
from zmartd.tasks.node_requests import NodeRequests, RequestsSpent

VOTERS_AT_ONCE: Final = 1_000
"""The most voters of a market that a step looks at."""
_ACCOUNTS_OF_A_VOTER: Final = 2


class IndexDiffers(ZmartdError):
    """The index has votes or positions that are not on the chain. The reconciler removes them."""

    code = "index_differs"


class _Walk(Struct):
    """How far a run has come through the voters of a market that are not verified."""

    after: str = ""
    differing: int = 0
    example: str = ""


class VoterVerification:
    """The voters of disputes that are being counted. The methods raise RpcUnavailable and the like."""

    def __init__(
        self,
        database: Database,
        rpc: Rpc,
        program: Program,
        dispute_period_seconds: int,
        requests: NodeRequests,
    ) -> None:
        self._database = database
        self._rpc = rpc
        self._program = program
        self._dispute_period_seconds = dispute_period_seconds
        self._requests = requests
        self._walks: dict[str, _Walk] = {}

    async def are_known(self, market_id: str) -> bool:
        """Take one step; whether the chain now has all positions, and the votes cast on it, as the index has.

        Raises VotesUnread, or IndexDiffers once all voters were looked at.
        """
        walk = self._walks.setdefault(market_id, _Walk())
        verified, is_last = await self._step(market_id, walk)
        if verified:
            async with self._database.service() as connection:
                await voter_checks.record_verified(connection, market_id, verified)
        if is_last:
            del self._walks[market_id]
            _require_none_differs(walk)
        return is_last

    async def preview(self, market_id: str) -> None:
        """The same for all voters at once; nothing is kept. Raises RequestsSpent as well."""
        walk, is_last = _Walk(), False
        while not is_last:
            if not self._requests.left:
                raise RequestsSpent
            _, is_last = await self._step(market_id, walk)
        _require_none_differs(walk)

    async def _step(self, market_id: str, walk: _Walk) -> tuple[list[HolderWhoVoted], bool]:
        """The next voters that are as the chain has them, and whether they were the last to look at."""
        async with self._database.service_reader() as connection:
            await electorates.require_read(connection, market_id, self._dispute_period_seconds)
            page = await voters.not_verified(connection, market_id, walk.after, VOTERS_AT_ONCE)
        market = self._program.pdas.market(bytes.fromhex(market_id))

        async def ask(chunk: Sequence[HolderWhoVoted]) -> list[bool]:
            return await self._are_on_chain(market, chunk)

        size = ACCOUNTS_PER_REQUEST // _ACCOUNTS_OF_A_VOTER
        answers = await self._requests.in_chunks(page, ask, size)
        same = [is_same for chunk in answers for is_same in chunk]
        differing = [one for one, is_same in zip(page, same, strict=True) if not is_same]
        if differing:
            walk.differing += len(differing)
            walk.example = walk.example or differing[0].wallet
        if page:
            walk.after = page[-1].wallet
        verified = [one for one, is_same in zip(page, same, strict=True) if is_same]
        return verified, len(page) < VOTERS_AT_ONCE

    async def _are_on_chain(self, market: Pubkey, holders: Sequence[HolderWhoVoted]) -> list[bool]:
        """Whether the chain has the same of each of these, by one request."""
        program = self._program
        wallets = [Pubkey.from_string(holder.wallet) for holder in holders]
        on_chain = [wallet for wallet, holder in zip(wallets, holders, strict=True) if holder.on_chain]
        accounts = await self._rpc.accounts(
            [program.pdas.position(market, wallet) for wallet in wallets]
            + [program.pdas.vote(market, wallet, VoteKind.DISPUTE) for wallet in on_chain]
        )
        positions, records = (
            accounts[: len(wallets)],
            dict(zip(on_chain, accounts[len(wallets) :], strict=True)),
        )
        return [
            _is_position(holder, position, program.program_id)
            and (not holder.on_chain or _is_vote(holder, records[wallet], program.program_id))
            for holder, wallet, position in zip(holders, wallets, positions, strict=True)
        ]


def _require_none_differs(walk: _Walk) -> None:
    if walk.differing:
        raise IndexDiffers(
            f"the index differs from the chain for {walk.differing} voters, among them {walk.example}: the "
            "next run looks again; if it stays so, run `zmartd audit --repair`"
        )


def _is_position(holder: HolderWhoVoted, account: ChainAccount | None, program: Pubkey) -> bool:
    try:
        position = decode_account(UserPosition, account, program)
    except UndecodableData:
        return False
    return position is not None and (
        holder.shares_yes,
        holder.shares_no,
        holder.total_invested,
        holder.trades_count,
    ) == (position.shares_yes, position.shares_no, position.total_invested, position.trades_count)


def _is_vote(holder: HolderWhoVoted, account: ChainAccount | None, program: Pubkey) -> bool:
    try:
        record = decode_account(VoteRecord, account, program)
    except UndecodableData:
        return False
    return record is not None and record.vote is holder.vote

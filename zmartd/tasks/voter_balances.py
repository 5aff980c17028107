"""Which voters on a proposal have the least balance, asked of the node in bounded steps.

The node is asked about every voter that has never traded, once. Those that had the balance are read once
more, and that decides: all at one slot where READ_AT_ONCE are enough, and otherwise at so many slots as it
takes, in an order that nobody can know before. Whoever moves the same coins from one wallet to the next then
has, on average, as many votes as the coins had paid for at one slot. Wallets without coins are not read
again, so however many of them vote, they keep nobody else from being read.

What is found is in the database, so that the next run goes on where this one stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from solders.pubkey import Pubkey

from zmartd.chain.rpc import ACCOUNTS_PER_REQUEST, BALANCE_READINGS, Rpc
from zmartd.market.votes import VoteCounts
from zmartd.store import voter_checks, voters
from zmartd.store.postgres.database import Database
from zmartd.store.voter_checks import Survey
from zmartd.tasks.node_requests import NodeRequests, RequestsSpent

VOTERS_AT_ONCE: Final = 2_000
"""The most voters of a market that a step looks at."""
READ_AT_ONCE: Final = 800
"""The most balances that are read at one slot."""


class VoterBalances:
    """The voters of proposals that are being counted. The methods raise RpcUnavailable and the like."""

    def __init__(self, database: Database, rpc: Rpc, least_lamports: int, requests: NodeRequests) -> None:
        self._database = database
        self._rpc = rpc
        self._least_lamports = least_lamports
        self._requests = requests

    async def are_known(self, market_id: str) -> bool:
        """Take one step; whether it is now known of every voter whether its vote counts."""
        if not self._least_lamports:
            return True
        async with self._database.service_reader() as connection:
            survey = await voter_checks.survey(connection, market_id)
        if not survey.is_complete:
            survey = await self._ask(market_id, survey)
        return survey.is_complete and await self._read(market_id)

    async def preview(self, market_id: str) -> VoteCounts:
        """What a count would come to by one look at each balance; nothing is kept. Raises RequestsSpent."""
        counts, after, is_last = VoteCounts(0, 0), "", False
        while not is_last:
            if not self._requests.left:
                raise RequestsSpent
            async with self._database.service_reader() as connection:
                page = await voters.on_proposal(connection, market_id, after, VOTERS_AT_ONCE)
            is_last = len(page) < VOTERS_AT_ONCE
            holders = set(await self._holders([one.wallet for one in page if not one.has_traded]))
            counting = [one.vote for one in page if one.has_traded or one.wallet in holders]
            counts = VoteCounts(counts.yes + sum(counting), counts.no + counting.count(False))
            after = page[-1].wallet if page else after
        return counts

    async def _ask(self, market_id: str, since: Survey) -> Survey:
        """Ask the node about the next voters, and record who has the balance."""
        async with self._database.service_reader() as connection:
            page = await voters.on_proposal(connection, market_id, since.asked_to or "", VOTERS_AT_ONCE)
        asked = [voter.wallet for voter in page if not voter.has_traded]
        now = Survey(page[-1].wallet if page else since.asked_to, len(page) < VOTERS_AT_ONCE)
        # One request is answered for one slot.
        is_all = since.asked_to is None and now.is_complete and len(asked) <= ACCOUNTS_PER_REQUEST
        holders = await self._holders(asked)
        async with self._database.service() as connection:
            await voter_checks.record_asked(
                connection,
                market_id,
                since,
                now,
                holders=holders,
                are_final=is_all,
                requests=-(-len(asked) // ACCOUNTS_PER_REQUEST),
            )
        return now

    async def _holders(self, wallets: Sequence[str]) -> list[str]:
        """Those of these wallets that have the balance, 100 of them at a slot."""
        if not self._least_lamports:
            return list(wallets)

        async def ask(chunk: Sequence[str]) -> list[str]:
            balances = await self._rpc.balances_at_once([Pubkey.from_string(one) for one in chunk])
            return [str(one) for one, lamports in balances.items() if lamports >= self._least_lamports]

        return [holder for chunk in await self._requests.in_chunks(wallets, ask) for holder in chunk]

    async def _read(self, market_id: str) -> bool:
        """Read balances for the last time; whether there are none left."""
        async with self._database.service_reader() as connection:
            unread = await voter_checks.unread(connection, market_id, READ_AT_ONCE + 1)
        if not unread:
            return True
        asked = [Pubkey.from_string(wallet) for wallet in unread[:READ_AT_ONCE]]
        chunks = -(-len(asked) // ACCOUNTS_PER_REQUEST)
        requests = chunks if chunks == 1 else chunks * BALANCE_READINGS
        self._requests.take(requests)
        # Those that it leaves out were answered for other slots: they are read in the next step.
        balances = await self._rpc.balances_at_once(asked)
        holders = [str(one) for one, lamports in balances.items() if lamports >= self._least_lamports]
        others = [str(one) for one, lamports in balances.items() if lamports < self._least_lamports]
        async with self._database.service() as connection:
            await voter_checks.record_read(
                connection, market_id, holders=holders, others=others, requests=requests
            )
        return len(balances) == len(unread)

"""Proposals that enough wallets like: their counts are recorded and they are approved in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncpg import Connection

from zmartd.chain.accounts import GlobalConfig
from zmartd.chain.program_accounts import ChainMarket
from zmartd.market import votes
from zmartd.market.lifecycle import VoteKind
from zmartd.market.votes import CountingRule, VoteCounts
from zmartd.store import due_markets, tallies
from zmartd.store.due_markets import DueMarket
from zmartd.store.markets import MarketRow
from zmartd.store.postgres.reader import Reads
from zmartd.store.tallies import Tally
from zmartd.tasks.announcements import Announcements
from zmartd.tasks.authority import Authority, MarketAccountMissing, ProtocolState
from zmartd.tasks.base import TaskAction
from zmartd.tasks.context import TaskContext
from zmartd.tasks.meant import Meant
from zmartd.tasks.node_requests import NodeRequests
from zmartd.tasks.plan import Plan, plan_each
from zmartd.tasks.vote_counting import DUE_AT_ONCE, Decide, PlannedTransaction, VoteCounting
from zmartd.tasks.voter_balances import VoterBalances

AWAITING_APPROVAL: Final = "awaiting_admin_approval"


class Proposals:
    """Approves proposals with `min_proposal_votes` votes that reach the program's approval threshold.

    Since new wallets cost nothing, a vote counts only if its wallet has traded before, or holds
    `proposal_min_balance_lamports` when the votes are counted.

    Only the admin's key can approve. A daemon whose key is only the backend authority's records the counts,
    closes the vote, announces once that the market awaits the admin, and reports so in each run.
    """

    def __init__(
        self,
        context: TaskContext,
        authority: Authority,
        announcements: Announcements,
        protocol: ProtocolState,
        requests: NodeRequests,
    ) -> None:
        """For one run, which decides by `protocol` and has so many `requests` for balances."""
        self._voting = context.voting
        self._database = context.database
        self._program = context.program
        self._authority = authority
        self._announcements = announcements
        self._protocol = protocol
        self._counting = VoteCounting(VoteKind.PROPOSAL, context, authority, requests)
        self._balances = VoterBalances(
            context.database, context.rpc, self._voting.proposal_min_balance_lamports, requests
        )

    async def run(self) -> list[TaskAction]:
        return (await self._counting.run(self, self._protocol)).listed()

    async def plan(self) -> Plan:
        """What `run` would send, by the votes as they are."""
        threshold_bps, now = self._protocol.config.proposal_approval_threshold, self._protocol.time
        async with self._database.service_reader() as connection:
            voted = await due_markets.voted_proposals(
                connection, self._voting.min_proposal_votes, threshold_bps, now
            )
            closed = await tallies.not_counted(connection, VoteKind.PROPOSAL, DUE_AT_ONCE)
            counted = await tallies.counted(connection, VoteKind.PROPOSAL, now, limit=DUE_AT_ONCE)
        market_ids = list(dict.fromkeys([*closed, *(one.market_id for one in counted), *voted]))
        found = await self._authority.markets(market_ids)

        async def decide(market_id: str) -> Meant | None:
            market = found.get(market_id)
            if market is None:
                raise MarketAccountMissing
            if market.account.state is not VoteKind.PROPOSAL.open_state:
                return None
            decided = self._decide(market, await self._would_count(market_id), self._protocol.config)
            return decided.for_market(market) if isinstance(decided, PlannedTransaction) else None

        return await plan_each(market_ids, decide, together=True)

    async def due(self, connection: Reads, after: DueMarket | None, limit: int) -> list[DueMarket]:
        """See `Rules`; so are the next three."""
        return await due_markets.proposals_to_close(
            connection,
            self._voting.min_proposal_votes,
            self._protocol.config.proposal_approval_threshold,
            self._protocol.time,
            after=after,
            limit=limit,
        )

    async def are_voters_known(self, market_id: str) -> bool:
        return await self._balances.are_known(market_id)

    async def count(self, connection: Connection, market_id: str) -> Tally | None:
        everybody = not self._voting.proposal_min_balance_lamports
        return await tallies.count_proposal(connection, market_id, everybody=everybody)

    async def decider(self, _connection: Reads, _market_ids: Sequence[str]) -> Decide:
        async def decide(
            market: ChainMarket, tally: Tally, row: MarketRow
        ) -> PlannedTransaction | TaskAction | None:
            decision = self._decide(market, tally.counts, self._protocol.config)
            if isinstance(decision, TaskAction):
                if not row.awaiting_admin_approval:
                    await self._announcements.announce_awaited_approval(market.id, decision.detail)
            elif row.awaiting_admin_approval:
                await self._announcements.withdraw_awaited_approval(market.id)
            return decision

        return decide

    async def _would_count(self, market_id: str) -> VoteCounts:
        async with self._database.service_reader() as connection:
            tally = await tallies.find(connection, VoteKind.PROPOSAL, market_id)
        if tally is not None and tally.counted_at is not None:
            return tally.counts
        return await self._balances.preview(market_id)

    def _decide(
        self, market: ChainMarket, counts: VoteCounts, config: GlobalConfig
    ) -> PlannedTransaction | TaskAction | None:
        minimum_votes = self._voting.min_proposal_votes
        if not votes.passes(counts.yes, counts.no, config.proposal_approval_threshold, minimum_votes):
            return None
        detail = f"{counts.yes} of {counts.total} votes like it"
        rule = CountingRule(threshold_bps=config.proposal_approval_threshold, min_votes=minimum_votes)
        record = self._program.aggregate_proposal_votes(
            backend_authority=self._authority.address,
            market=market.address,
            final_likes=counts.yes,
            final_dislikes=counts.no,
        )
        if config.admin == self._authority.address:
            approve = self._program.approve_proposal(admin=config.admin, market=market.address)
            return PlannedTransaction("approve_proposal", (record, approve), detail, rule)
        if counts == VoteCounts(market.account.proposal_likes, market.account.proposal_dislikes):
            waiting = f"{detail}; the counts are recorded, the admin {config.admin} must approve it"
            return TaskAction(market.id, AWAITING_APPROVAL, ok=False, detail=waiting, awaits_admin=True)
        return PlannedTransaction("aggregate_proposal_votes", (record,), detail, rule)

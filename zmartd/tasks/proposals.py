"""Proposals that enough wallets like: their counts are recorded and they are approved in one transaction."""

from __future__ import annotations

from typing import Final

from solders.pubkey import Pubkey

from zmartd.chain.accounts import GlobalConfig
from zmartd.chain.program_accounts import ChainMarket
from zmartd.market import votes
from zmartd.market.lifecycle import VoteKind
from zmartd.market.votes import CountingRule, VoteCounts
from zmartd.store import due_markets, tallies, voters
from zmartd.store.tallies import Tally
from zmartd.tasks.announcements import Announcements
from zmartd.tasks.authority import Authority, MarketAccountMissing, ProtocolState
from zmartd.tasks.base import TaskAction
from zmartd.tasks.context import TaskContext
from zmartd.tasks.meant import Meant
from zmartd.tasks.plan import Plan, plan_each
from zmartd.tasks.vote_counting import PlannedTransaction, VoteCounting

AWAITING_APPROVAL: Final = "awaiting_admin_approval"


class Proposals:
    """Approves proposals with `min_proposal_votes` votes that reach the program's approval threshold.

    Since new wallets cost nothing, a vote counts only if its wallet has traded before, or holds
    `proposal_min_balance_lamports` when the votes are counted.

    Only the admin's key can approve. A daemon whose key is only the backend authority's records the counts,
    closes the vote, announces once that the market awaits the admin, and reports so in each run.
    """

    def __init__(self, context: TaskContext, authority: Authority, announcements: Announcements) -> None:
        self._voting = context.voting
        self._database = context.database
        self._rpc = context.rpc
        self._program = context.program
        self._authority = authority
        self._announcements = announcements
        self._counting = VoteCounting(VoteKind.PROPOSAL, context, authority)

    async def run(self, protocol: ProtocolState) -> list[TaskAction]:
        market_ids = await self._due(protocol)

        async def decide(market: ChainMarket, tally: Tally) -> PlannedTransaction | TaskAction | None:
            decision = self._decide(market, tally.counts, protocol.config)
            if isinstance(decision, TaskAction):
                await self._announcements.announce_awaited_approval(market.id, decision.detail)
            else:
                await self._announcements.withdraw_awaited_approval(market.id)
            return decision

        return await self._counting.run(market_ids, self._count, decide, protocol)

    async def plan(self, protocol: ProtocolState) -> Plan:
        """What `run` would send, by the votes as they are."""
        market_ids = await self._due(protocol)
        found = await self._authority.markets(market_ids)

        async def decide(market_id: str) -> Meant | None:
            market = found.get(market_id)
            if market is None:
                raise MarketAccountMissing
            if market.account.state is not VoteKind.PROPOSAL.open_state:
                return None
            counts = (await self._would_count(market_id)).counts
            decided = self._decide(market, counts, protocol.config)
            return decided.for_market(market) if isinstance(decided, PlannedTransaction) else None

        return await plan_each(market_ids, decide, together=True)

    async def _due(self, protocol: ProtocolState) -> list[str]:
        """The markets whose votes an earlier run closed, and those that enough wallets like."""
        threshold_bps = protocol.config.proposal_approval_threshold
        async with self._database.service() as connection:
            voted = await due_markets.voted_proposals(
                connection, self._voting.min_proposal_votes, threshold_bps, protocol.time
            )
            unfinished = await self._counting.unfinished(connection, protocol)
        return list(dict.fromkeys([*unfinished, *voted]))

    async def _would_count(self, market_id: str) -> Tally:
        async with self._database.service_reader() as connection:
            tally = await tallies.find(connection, VoteKind.PROPOSAL, market_id)
        if tally is not None and tally.counted_at is not None:
            return tally
        eligible = await self._eligible(market_id)
        async with self._database.service_reader() as connection:
            return await tallies.preview_proposal(connection, market_id, eligible)

    async def _count(self, market_id: str) -> Tally | None:
        eligible = await self._eligible(market_id)
        async with self._database.service() as connection:
            return await tallies.count_proposal(connection, market_id, eligible)

    async def _eligible(self, market_id: str) -> list[str]:
        """The wallets that voted and whose votes count."""
        async with self._database.service_reader() as connection:
            cast = await voters.on_proposal(connection, market_id)
        traders = [voter.wallet for voter in cast if voter.has_traded]
        others = [voter.wallet for voter in cast if not voter.has_traded]
        minimum = self._voting.proposal_min_balance_lamports
        if minimum:
            asked = [Pubkey.from_string(wallet) for wallet in others]
            others = [str(wallet) for wallet in await self._rpc.holding_at_once(asked, minimum)]
        return traders + others

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

"""Proposals that enough wallets like: their counts are recorded and they are approved in one transaction."""

from __future__ import annotations

from solders.pubkey import Pubkey

from zmartd.chain.accounts import GlobalConfig
from zmartd.chain.program_accounts import ChainMarket
from zmartd.market import votes
from zmartd.market.lifecycle import VoteKind
from zmartd.market.votes import VoteCounts
from zmartd.store import due_markets, tallies
from zmartd.store.tallies import Tally
from zmartd.tasks.authority import Authority, ProtocolState
from zmartd.tasks.base import TaskAction
from zmartd.tasks.context import TaskContext
from zmartd.tasks.vote_counting import PlannedTransaction, VoteCounting


class Proposals:
    """Approves proposals with `min_proposal_votes` votes that reach the program's approval threshold.

    Since new wallets cost nothing, a vote counts only if its wallet has traded before, or holds
    `proposal_min_balance_lamports` when the votes are counted.

    Only the admin's key can approve. A daemon whose key is only the backend authority's records the counts,
    closes the vote, and reports in each run that the admin's approval is missing.
    """

    def __init__(self, context: TaskContext, authority: Authority) -> None:
        self._voting = context.voting
        self._database = context.database
        self._rpc = context.rpc
        self._program = context.program
        self._authority = authority
        self._counting = VoteCounting(VoteKind.PROPOSAL, context, authority)

    async def run(self, protocol: ProtocolState) -> list[TaskAction]:
        threshold_bps = protocol.config.proposal_approval_threshold
        async with self._database.service() as connection:
            voted = await due_markets.voted_proposals(
                connection, self._voting.min_proposal_votes, threshold_bps, protocol.time
            )
            unfinished = await self._counting.unfinished(connection)
        market_ids = dict.fromkeys([*unfinished, *voted])

        async def decide(market: ChainMarket, tally: Tally) -> PlannedTransaction | TaskAction | None:
            return self._decide(market, tally.counts, protocol.config)

        return await self._counting.run(market_ids, self._count, decide, protocol)

    async def _count(self, market_id: str) -> Tally | None:
        async with self._database.service_reader() as connection:
            voters = await tallies.voters(connection, market_id)
        traders = [voter.wallet for voter in voters if voter.has_traded]
        others = [voter.wallet for voter in voters if not voter.has_traded]
        minimum = self._voting.proposal_min_balance_lamports
        if minimum:
            balances = await self._rpc.balances_at_once([Pubkey.from_string(wallet) for wallet in others])
            others = [str(wallet) for wallet, lamports in balances.items() if lamports >= minimum]
        async with self._database.service() as connection:
            return await tallies.count_proposal(connection, market_id, traders + others)

    def _decide(
        self, market: ChainMarket, counts: VoteCounts, config: GlobalConfig
    ) -> PlannedTransaction | TaskAction | None:
        minimum_votes = self._voting.min_proposal_votes
        if not votes.passes(counts.yes, counts.no, config.proposal_approval_threshold, minimum_votes):
            return None
        detail = f"{counts.yes} of {counts.total} votes like it"
        record = self._program.aggregate_proposal_votes(
            backend_authority=self._authority.address,
            market=market.address,
            final_likes=counts.yes,
            final_dislikes=counts.no,
        )
        if config.admin == self._authority.address:
            approve = self._program.approve_proposal(admin=config.admin, market=market.address)
            return PlannedTransaction("approve_proposal", (record, approve), detail)
        if counts == VoteCounts(market.account.proposal_likes, market.account.proposal_dislikes):
            waiting = f"{detail}; the counts are recorded, the admin {config.admin} must approve it"
            return TaskAction(market.id, "awaiting_admin_approval", ok=False, detail=waiting)
        return PlannedTransaction("aggregate_proposal_votes", (record,), detail)

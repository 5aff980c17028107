"""Proposals that enough wallets like: recorded and approved in one transaction."""

from __future__ import annotations

from solders.pubkey import Pubkey

from zmartd.chain.accounts import GlobalConfig
from zmartd.chain.program_accounts import ChainMarket
from zmartd.market import votes
from zmartd.market.lifecycle import VoteKind
from zmartd.market.votes import VoteCounts
from zmartd.store import due_markets, tallies
from zmartd.store.tallies import Tally
from zmartd.tasks.authority import Authority, Protocol
from zmartd.tasks.base import Action
from zmartd.tasks.context import TaskContext
from zmartd.tasks.vote_counting import Ballots, Motion


class Proposals:
    """Approves what `min_proposal_votes` and the program's threshold let pass.

    Keys cost nothing, so a vote counts if its wallet has traded before, or holds
    `proposal_min_balance_lamports` when the votes are counted.

    Approving is the admin's. A daemon whose key is only the backend authority's records the counts, closes
    the vote, and reports in each run that the admin's approval is missing.
    """

    def __init__(self, context: TaskContext, authority: Authority) -> None:
        self._voting = context.voting
        self._database = context.database
        self._rpc = context.rpc
        self._program = context.program
        self._authority = authority
        self._ballots = Ballots(VoteKind.PROPOSAL, context, authority)

    async def run(self, protocol: Protocol) -> list[Action]:
        threshold_bps = protocol.config.proposal_approval_threshold
        async with self._database.service() as connection:
            voted = await due_markets.voted_proposals(
                connection, self._voting.min_proposal_votes, threshold_bps, protocol.time
            )
            left_open = await self._ballots.left_open(connection)
        market_ids = dict.fromkeys([*left_open, *voted])

        async def decide(market: ChainMarket, tally: Tally) -> Motion | Action | None:
            return self._decide(market, tally.counts, protocol.config)

        return await self._ballots.settle(market_ids, self._count, decide, protocol)

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
    ) -> Motion | Action | None:
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
            return Motion("approve_proposal", (record, approve), detail)
        if counts == VoteCounts(market.account.proposal_likes, market.account.proposal_dislikes):
            waiting = f"{detail}; the counts are recorded, the admin {config.admin} must approve it"
            return Action(market.id, "awaiting_admin_approval", ok=False, detail=waiting)
        return Motion("aggregate_proposal_votes", (record,), detail)

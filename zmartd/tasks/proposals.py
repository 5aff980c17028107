"""Proposals that enough wallets like: recorded and approved in one transaction."""

from __future__ import annotations

from zmartd import config
from zmartd.chain.accounts import GlobalConfig
from zmartd.chain.program import Program
from zmartd.market import votes
from zmartd.market.lifecycle import VoteKind
from zmartd.store import due
from zmartd.store.pool import Database
from zmartd.store.votes import VoteCounts
from zmartd.tasks.authority import Authority, ChainMarket, Protocol
from zmartd.tasks.ballots import Ballots, Motion
from zmartd.tasks.base import Action


class Proposals:
    """Approves what `min_proposal_votes` and the program's threshold let pass.

    Approving is the admin's. A daemon whose key is only the backend authority's records the counts, closes
    the vote, and tells in each run that the admin's approval is missing.
    """

    def __init__(
        self, settings: config.VoteAggregator, database: Database, program: Program, authority: Authority
    ) -> None:
        self._minimum_votes = settings.min_proposal_votes
        self._database = database
        self._program = program
        self._authority = authority
        self._ballots = Ballots(VoteKind.PROPOSAL, database, authority)

    async def run(self, protocol: Protocol) -> list[Action]:
        threshold_bps = protocol.config.proposal_approval_threshold
        async with self._database.service() as connection:
            passed = await due.passed_proposals(connection, self._minimum_votes, threshold_bps, protocol.time)
            left_open = await self._ballots.left_open(connection)
        market_ids = dict.fromkeys([*left_open, *(market.id for market in passed)])

        def decide(market: ChainMarket, counts: VoteCounts) -> Motion | Action | None:
            return self._decide(market, counts, protocol.config)

        return await self._ballots.settle(market_ids, decide, protocol)

    def _decide(
        self, market: ChainMarket, counts: VoteCounts, config: GlobalConfig
    ) -> Motion | Action | None:
        if not votes.passes(counts.yes, counts.no, config.proposal_approval_threshold, self._minimum_votes):
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

"""Disputes whose time to vote is over: counted, and the market finalized with what the count says."""

from __future__ import annotations

from typing import Final

from prometheus_client import Gauge

from zmartd.chain.program import Program
from zmartd.market import lifecycle, votes
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.store import due
from zmartd.store.pool import Database
from zmartd.store.votes import VoteCounts
from zmartd.tasks.authority import Authority, ChainMarket, MarketAccountMissing, Protocol
from zmartd.tasks.ballots import Ballots, Motion
from zmartd.tasks.base import Action
from zmartd.tasks.each import each_market

WITHOUT_VOTES = Gauge(
    "zmartd_disputes_without_votes", "Markets whose dispute has ended and that nobody voted on."
)

_OUTCOMES: Final = {True: "YES", False: "NO", None: "INVALID"}


class Disputes:
    """Finalizes disputed markets.

    The program sets no time for a dispute's votes: when they end is decided here, and only here. A dispute
    that nobody voted on cannot be finalized with an outcome, so it waits, and is told in each run.
    """

    def __init__(self, database: Database, program: Program, authority: Authority) -> None:
        self._database = database
        self._program = program
        self._authority = authority
        self._ballots = Ballots(VoteKind.DISPUTE, database, authority)

    async def run(self, protocol: Protocol) -> list[Action]:
        opened_until = protocol.before(protocol.config.dispute_period)
        async with self._database.service() as connection:
            ended = await due.ended_disputes(connection, opened_until, protocol.time)
            left_open = await self._ballots.left_open(connection)
        voted = dict.fromkeys([*left_open, *(market.id for market in ended if market.counts.total)])
        silent = [market.id for market in ended if market.id not in voted]

        def decide(market: ChainMarket, counts: VoteCounts) -> Motion | Action | None:
            return self._decide(market, counts, protocol)

        settled = await self._ballots.settle(voted, decide, protocol)
        return settled + await self._tell_silent(silent)

    def _decide(self, market: ChainMarket, counts: VoteCounts, protocol: Protocol) -> Motion | Action | None:
        account = market.account
        ends_at = lifecycle.dispute_vote_ends_at(account.dispute_initiated_at, protocol.config.dispute_period)
        if protocol.now < ends_at or counts.total == 0:
            return None
        succeeds = votes.passes(counts.yes, counts.no, protocol.config.dispute_success_threshold)
        outcome = lifecycle.flipped(account.proposed_outcome) if succeeds else account.proposed_outcome
        verb = "flipped to" if succeeds else "stays"
        finalize = self._program.finalize_market(
            backend_authority=self._authority.address,
            market=market.address,
            dispute_agree=counts.yes,
            dispute_disagree=counts.no,
        )
        detail = f"{counts.yes} of {counts.total} votes agree: the outcome {verb} {_OUTCOMES[outcome]}"
        return Motion("finalize_market", (finalize,), detail)

    async def _tell_silent(self, market_ids: list[str]) -> list[Action]:
        found = await self._authority.markets(market_ids)

        async def tell(market_id: str) -> Action:
            if market_id not in found:
                raise MarketAccountMissing(market_id=market_id)
            market = found[market_id]
            if market.account.state is not MarketState.DISPUTED:
                return await self._authority.reconcile(market)
            detail = "the dispute has ended and nobody voted: it stays DISPUTED until somebody does"
            return Action(market_id, "await_dispute_votes", ok=False, detail=detail)

        actions = await each_market(market_ids, "await_dispute_votes", tell)
        WITHOUT_VOTES.set(sum(action.action == "await_dispute_votes" for action in actions))
        return actions

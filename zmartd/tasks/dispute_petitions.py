"""Petitions for a dispute: when enough holders of a resolved market ask for one, the authority opens it."""

from __future__ import annotations

from zmartd.chain.program_accounts import ChainMarket
from zmartd.chain.signed_transactions import TransactionFailed
from zmartd.market import lifecycle, votes
from zmartd.market.lifecycle import MarketState
from zmartd.store import due_markets
from zmartd.store.due_markets import PetitionedMarket
from zmartd.tasks.authority import Authority, MarketAccountMissing, ProtocolState
from zmartd.tasks.base import TaskAction
from zmartd.tasks.catching_up import catch_up, has_same_resolution
from zmartd.tasks.context import TaskContext
from zmartd.tasks.fan_out import fan_out
from zmartd.tasks.meant import ChainIsAhead, Meant
from zmartd.tasks.plan import Plan, plan_each

ACTION = "initiate_dispute"


class DisputePetitions:
    """Opens disputes that holders ask for; any wallet can open one itself.

    Enough are `dispute_petition_bps` of the stake, or of the holders with at least `min_stake_lamports`. Any
    holder is where not all stakes are known: an outcome that time makes final could not be taken back.
    """

    def __init__(self, context: TaskContext, authority: Authority) -> None:
        self._voting = context.voting
        self._context = context
        self._database = context.database
        self._program = context.program
        self._authority = authority

    async def run(self, protocol: ProtocolState) -> list[TaskAction]:
        enough = await self._enough(protocol)
        found = await self._authority.markets(enough)

        async def open_dispute(market_id: str) -> TaskAction | None:
            if market_id not in found:
                raise MarketAccountMissing
            return await self._open(found[market_id], enough[market_id], protocol)

        return await fan_out(enough, ACTION, open_dispute, self._context.failures)

    async def plan(self, protocol: ProtocolState) -> Plan:
        """What `run` would send."""
        enough = await self._enough(protocol)
        found = await self._authority.markets(enough)

        async def decide(market_id: str) -> Meant | None:
            if market_id not in found:
                raise MarketAccountMissing
            decided = await self._decide(found[market_id], enough[market_id], protocol)
            return decided if isinstance(decided, Meant) else None

        return await plan_each(enough, decide)

    async def _enough(self, protocol: ProtocolState) -> dict[str, PetitionedMarket]:
        async with self._database.service_reader() as connection:
            petitioned = await due_markets.petitions(connection, self._voting.min_stake_lamports)
        return {market.id: market for market in petitioned if self._is_enough(market, protocol)}

    def _is_enough(self, market: PetitionedMarket, protocol: ProtocolState) -> bool:
        if market.resolution_proposed_at <= protocol.before(protocol.config.dispute_period):
            return False
        return market.passes(self._voting.dispute_petition_bps)

    async def _decide(
        self, market: ChainMarket, petition: PetitionedMarket, protocol: ProtocolState
    ) -> Meant | ChainIsAhead | None:
        if market.account.state is not MarketState.RESOLVING or not await has_same_resolution(
            self._context, market
        ):
            return ChainIsAhead(market)
        proposed_at = market.account.resolution_proposed_at
        closes_at = lifecycle.dispute_closes_at(proposed_at, protocol.config.dispute_period)
        if not proposed_at < protocol.now < closes_at:
            return None
        instruction = self._program.initiate_dispute(initiator=self._authority.address, market=market.address)
        return Meant(market, ACTION, (instruction,), _detail(petition))

    async def _open(
        self, market: ChainMarket, petition: PetitionedMarket, protocol: ProtocolState
    ) -> TaskAction | None:
        meant = await self._decide(market, petition, protocol)
        if isinstance(meant, ChainIsAhead):
            return await catch_up(self._context, market)
        if meant is None:
            return None
        try:
            signature = await self._authority.send(market, ACTION, meant.instructions)
        except TransactionFailed:
            now = await self._authority.market(market.id)
            if now.account.state is MarketState.RESOLVING:
                raise
            return await catch_up(self._context, now)
        return TaskAction(market.id, ACTION, ok=True, detail=meant.detail, signature=signature)


def _detail(petition: PetitionedMarket) -> str:
    if not petition.is_known:
        return "holders ask for it, and how much of the stake they have is not known"
    percent = votes.share_bps(petition.requests_stake, petition.holders_stake) // 100
    return f"{petition.requests} of {petition.holders} holders and {percent} % of the stake ask for it"

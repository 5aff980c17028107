"""Resolutions by strangers: they are never final without an admin's decision or a dispute.

The program lets any wallet propose a market's outcome. Unless it is the market's creator or a trusted
resolver, the market waits for an admin's decision or for a dispute. Once the dispute window has passed, the
program can only finalize the proposed outcome, so the backend opens the dispute itself late in the window.
"""

from __future__ import annotations

from functools import partial

from zmartd.chain.program_accounts import ChainMarket
from zmartd.chain.signed_transactions import TransactionFailed
from zmartd.market import lifecycle
from zmartd.market.decisions import Decision, is_trusted_resolver
from zmartd.market.lifecycle import MarketState
from zmartd.store import decisions, due_markets
from zmartd.store.decisions import MarketDecision
from zmartd.tasks.admin_decisions import how_to_decide
from zmartd.tasks.announcements import Announcements
from zmartd.tasks.authority import Authority, MarketAccountMissing, ProtocolState
from zmartd.tasks.base import TaskAction
from zmartd.tasks.catching_up import catch_up, has_same_resolution
from zmartd.tasks.context import TaskContext
from zmartd.tasks.decision_execution import decision_instruction, require_decision
from zmartd.tasks.disputes import AWAIT_DECISION
from zmartd.tasks.fan_out import fan_out
from zmartd.tasks.meant import ChainIsAhead, Meant
from zmartd.tasks.plan import Plan, plan_each


class UntrustedResolutions:
    """Handles resolutions that neither the market's creator nor a trusted resolver proposed."""

    def __init__(self, context: TaskContext, authority: Authority, announcements: Announcements) -> None:
        self._trusted = context.voting.trusted_resolvers
        self._context = context
        self._database = context.database
        self._program = context.program
        self._authority = authority
        self._announcements = announcements

    async def run(self, protocol: ProtocolState) -> list[TaskAction]:
        market_ids, decided = await self._due()
        found = await self._authority.markets(market_ids)

        async def handle(market_id: str) -> TaskAction | None:
            if market_id not in found:
                raise MarketAccountMissing
            return await self._handle(found[market_id], decided.get(market_id), protocol)

        return await fan_out(market_ids, AWAIT_DECISION, handle, self._context.failures)

    async def plan(self, protocol: ProtocolState) -> Plan:
        """What `run` would send."""
        market_ids, decided = await self._due()
        found = await self._authority.markets(market_ids)

        async def decide(market_id: str) -> Meant | None:
            if market_id not in found:
                raise MarketAccountMissing
            planned = await self._decide(found[market_id], decided.get(market_id), protocol)
            return planned if isinstance(planned, Meant) else None

        return await plan_each(market_ids, decide)

    async def _due(self) -> tuple[tuple[str, ...], dict[str, MarketDecision]]:
        """The markets, and what an admin decided about them."""
        async with self._database.service_reader() as connection:
            market_ids = await due_markets.strangers_resolutions(connection, self._trusted)
            return market_ids, await decisions.of_markets(connection, market_ids, MarketState.RESOLVING)

    async def _handle(
        self, market: ChainMarket, decided: MarketDecision | None, protocol: ProtocolState
    ) -> TaskAction | None:
        planned = await self._decide(market, decided, protocol)
        if isinstance(planned, ChainIsAhead):
            return await catch_up(self._context, market)
        if isinstance(planned, Meant):
            return await self._send(planned, decided)
        return None if planned is None else await self._wait(market, planned)

    async def _decide(
        self, market: ChainMarket, decided: MarketDecision | None, protocol: ProtocolState
    ) -> Meant | ChainIsAhead | str | None:
        """What is to be sent, or the reason for which an admin has to decide."""
        account = market.account
        if account.state is not MarketState.RESOLVING or not await has_same_resolution(self._context, market):
            return ChainIsAhead(market)
        if is_trusted_resolver(str(account.resolver), str(account.creator), self._trusted):
            return None
        if decided is not None and decided.decision is Decision.KEEP:
            return None  # The market monitor finalizes it when the dispute window has passed.
        proposed_at, period = market.account.resolution_proposed_at, protocol.config.dispute_period
        if protocol.now >= lifecycle.dispute_closes_at(proposed_at, period):
            return _closed(decided)
        if decided is not None and protocol.now <= proposed_at:
            return None  # The program refuses a dispute in the second of the resolution: the next run.
        initiate = self._program.initiate_dispute(initiator=self._authority.address, market=market.address)
        if decided is not None:
            carry_out = decision_instruction(
                self._program, self._authority.address, market.address, decided.decision
            )
            detail = f"decided to {decided.decision.value}: {decided.because}"
            return Meant(market, f"{decided.decision.value}_resolution", (initiate, carry_out), detail)
        if protocol.now >= lifecycle.automatic_dispute_at(proposed_at, period):
            detail = f"a stranger, {market.account.resolver}, proposed the outcome and nobody disputed it"
            return Meant(market, "initiate_dispute", (initiate,), detail)
        return (
            f"a stranger, {market.account.resolver}, proposed the outcome: `{how_to_decide(market.id)}`, "
            "or let it be disputed"
        )

    async def _wait(self, market: ChainMarket, reason: str) -> TaskAction:
        await self._announcements.announce_awaited_decision(market.id, MarketState.RESOLVING, reason)
        return TaskAction(market.id, AWAIT_DECISION, ok=False, detail=reason, awaits_admin=True)

    async def _send(self, meant: Meant, decided: MarketDecision | None) -> TaskAction:
        market = meant.market
        check = partial(require_decision, market_id=market.id, state=MarketState.RESOLVING, expected=decided)
        try:
            signature = await self._authority.send(
                market, meant.purpose, meant.instructions, lambda connection, _signature: check(connection)
            )
        except TransactionFailed:
            now = await self._authority.market(market.id)
            if now.account.state is MarketState.RESOLVING:
                raise
            return await catch_up(self._context, now)
        return TaskAction(market.id, meant.purpose, ok=True, detail=meant.detail, signature=signature)


def _closed(decided: MarketDecision | None) -> str:
    known = "a stranger proposed the outcome and the dispute window has passed"
    if decided is None:
        return f"{known}: the program only knows the proposed outcome now, and --keep makes it final"
    return f"{known}: the decision to {decided.decision.value} cannot be carried out any more"

"""Resolutions by strangers: they are never final without an admin's decision or a dispute.

The program lets any wallet propose a market's outcome. Unless it is the market's creator or a trusted
resolver, the market waits for an admin's decision or for a dispute. Once the dispute window has passed, the
program can only finalize the proposed outcome, so the backend opens the dispute itself late in the window.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from prometheus_client import Gauge
from solders.instruction import Instruction

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

UNTRUSTED: Final = Gauge(
    "zmartd_resolutions_by_strangers", "Markets whose outcome a stranger proposed and that await a decision."
)


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
        async with self._database.service_reader() as connection:
            market_ids = await due_markets.strangers_resolutions(connection, self._trusted)
            decided = await decisions.of_markets(connection, market_ids, MarketState.RESOLVING)
        found = await self._authority.markets(market_ids)

        async def handle(market_id: str) -> TaskAction | None:
            if market_id not in found:
                raise MarketAccountMissing
            market = found[market_id]
            if market.account.state is not MarketState.RESOLVING or not await has_same_resolution(
                self._context, market
            ):
                return await catch_up(self._context, market)
            account = market.account
            if is_trusted_resolver(str(account.resolver), str(account.creator), self._trusted):
                return None
            return await self._handle(market, decided.get(market_id), protocol)

        actions = await fan_out(market_ids, AWAIT_DECISION, handle)
        UNTRUSTED.set(sum(one.action == AWAIT_DECISION for one in actions))
        return actions

    async def _handle(
        self, market: ChainMarket, decided: MarketDecision | None, protocol: ProtocolState
    ) -> TaskAction | None:
        if decided is not None and decided.decision is Decision.KEEP:
            return None  # The market monitor finalizes it when the dispute window has passed.
        proposed_at, period = market.account.resolution_proposed_at, protocol.config.dispute_period
        if protocol.now >= lifecycle.dispute_closes_at(proposed_at, period):
            return await self._wait(market, _closed(decided))
        if decided is not None and protocol.now <= proposed_at:
            return None  # The program refuses a dispute in the second of the resolution: the next run.
        initiate = self._program.initiate_dispute(initiator=self._authority.address, market=market.address)
        if decided is not None:
            carry_out = decision_instruction(
                self._program, self._authority.address, market.address, decided.decision
            )
            detail = f"decided to {decided.decision.value}: {decided.because}"
            return await self._send(
                market, f"{decided.decision.value}_resolution", (initiate, carry_out), decided, detail
            )
        if protocol.now >= lifecycle.automatic_dispute_at(proposed_at, period):
            detail = f"a stranger, {market.account.resolver}, proposed the outcome and nobody disputed it"
            return await self._send(market, "initiate_dispute", (initiate,), None, detail)
        return await self._wait(
            market,
            f"a stranger, {market.account.resolver}, proposed the outcome: `{how_to_decide(market.id)}`, "
            "or let it be disputed",
        )

    async def _wait(self, market: ChainMarket, reason: str) -> TaskAction:
        await self._announcements.announce_awaited_decision(market.id, MarketState.RESOLVING, reason)
        return TaskAction(market.id, AWAIT_DECISION, ok=False, detail=reason, awaits_admin=True)

    async def _send(
        self,
        market: ChainMarket,
        purpose: str,
        instructions: tuple[Instruction, ...],
        decided: MarketDecision | None,
        detail: str,
    ) -> TaskAction:
        check = partial(require_decision, market_id=market.id, state=MarketState.RESOLVING, expected=decided)
        try:
            signature = await self._authority.send(
                market, purpose, instructions, lambda connection, _signature: check(connection)
            )
        except TransactionFailed:
            now = await self._authority.market(market.id)
            if now.account.state is MarketState.RESOLVING:
                raise
            return await catch_up(self._context, now)
        return TaskAction(market.id, purpose, ok=True, detail=detail, signature=signature)


def _closed(decided: MarketDecision | None) -> str:
    known = "a stranger proposed the outcome and the dispute window has passed"
    if decided is None:
        return f"{known}: the program only knows the proposed outcome now, and --keep makes it final"
    return f"{known}: the decision to {decided.decision.value} cannot be carried out any more"

"""The task that finalizes markets whose outcome nobody disputed, and reports stuck markets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from zmartd.chain.program_accounts import ChainMarket
from zmartd.chain.signed_transactions import TransactionFailed
from zmartd.errors import ZmartdError
from zmartd.market import lifecycle
from zmartd.market.decisions import is_trusted_resolver
from zmartd.market.iso_time import iso_time
from zmartd.market.lifecycle import MarketState
from zmartd.store import due_markets, finalization_errors
from zmartd.task_settings import MarketMonitorSettings
from zmartd.tasks.authority import Authority, MarketAccountMissing, ProtocolState
from zmartd.tasks.base import TaskAction
from zmartd.tasks.catching_up import NotCaughtUp, catch_up, has_same_resolution
from zmartd.tasks.context import TaskContext
from zmartd.tasks.fan_out import fan_out
from zmartd.tasks.meant import ChainIsAhead, Meant
from zmartd.tasks.plan import Plan, plan_each
from zmartd.tasks.stuck_markets import StuckMarketsReport

TASK: Final = "market_monitor"
ACTION: Final = "finalize_market"


class MarketMonitor:
    """A `PeriodicTask`; see zmartd.tasks.base.

    A market that cannot be finalized waits longer after each attempt, so that it does not keep others out of
    the batch.
    """

    name = TASK

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._settings: MarketMonitorSettings = context.settings.market_monitor
        self._database = context.database
        self._program = context.program
        self._stuck = StuckMarketsReport(context.database, self._settings, context.clock)
        self._trusted = context.voting.trusted_resolvers
        self.enabled = self._settings.enabled
        self.schedule = self._settings.schedule

    async def run(self) -> list[TaskAction]:
        """Raises NoAuthority, WrongAuthority, ProtocolNotInitialized, RpcUnavailable, DatabaseUnavailable."""
        authority = Authority(self._context)
        protocol = await authority.protocol()
        kept = await self._due(protocol)
        found = await authority.markets(kept)
        done = await self._finalize_together(authority, found, kept, protocol)
        if len(done) < len(found) > 1:
            found = await authority.markets(market_id for market_id in kept if market_id not in done)

        async def finalize(market_id: str) -> TaskAction:
            if market_id in done:
                return _finalized(market_id, done[market_id], kept=kept[market_id])
            market = found.get(market_id)
            if market is None:
                return await self._problem(market_id, MarketAccountMissing(), protocol)
            return await self._finalize(authority, market, kept[market_id], protocol)

        finalized = await fan_out(kept, ACTION, finalize, self._context.failures)
        await self._clean_errors(protocol)
        return finalized + await self._stuck.actions(protocol)

    async def plan(self) -> list[Plan]:
        """See zmartd.tasks.plan."""
        authority = Authority(self._context)
        protocol = await authority.protocol()
        kept = await self._due(protocol)
        found = await authority.markets(kept)

        async def decide(market_id: str) -> Meant | None:
            if market_id not in found:
                raise MarketAccountMissing
            decided = await self._decide(authority, found[market_id], kept[market_id], protocol)
            return decided if isinstance(decided, Meant) else None

        return [await plan_each(kept, decide, together=True)]

    async def _due(self, protocol: ProtocolState) -> dict[str, bool]:
        """The markets whose time has come, and whether an admin decided to keep their outcome."""
        async with self._database.service_reader() as connection:
            markets = await due_markets.undisputed(
                connection,
                protocol.before(self._waits_seconds(protocol)),
                protocol.time,
                self._settings.batch_size,
                self._trusted,
            )
        return {market.id: market.kept for market in markets}

    def _waits_seconds(self, protocol: ProtocolState) -> int:
        return lifecycle.finalizable_at(
            0,
            protocol.config.dispute_period,
            self._settings.finalization_delay_seconds,
            self._settings.safety_margin_seconds,
        )

    async def _finalize_together(
        self,
        authority: Authority,
        found: Mapping[str, ChainMarket],
        kept: Mapping[str, bool],
        protocol: ProtocolState,
    ) -> dict[str, str]:
        """The signatures, by market, of those that are finalized in transactions for several."""
        if len(found) < 2:
            return {}
        decided = await asyncio.gather(
            *(self._decide(authority, found[key], kept[key], protocol) for key in found),
            return_exceptions=True,
        )
        return await authority.send_together([one for one in decided if isinstance(one, Meant)])

    async def _decide(
        self, authority: Authority, market: ChainMarket, kept: bool, protocol: ProtocolState
    ) -> Meant | ChainIsAhead:
        account = market.account
        if account.state is not MarketState.RESOLVING:
            return ChainIsAhead(market)
        # The index may be wrong for a while; the account says when and by whom the outcome was proposed.
        if protocol.now < account.resolution_proposed_at + self._waits_seconds(protocol):
            return ChainIsAhead(market)
        if kept and not await has_same_resolution(self._context, market):
            return ChainIsAhead(market)
        if not kept and not is_trusted_resolver(str(account.resolver), str(account.creator), self._trusted):
            return ChainIsAhead(market)
        instruction = self._program.finalize_market(
            backend_authority=authority.address, market=market.address
        )
        return Meant(market, ACTION, (instruction,), _reason(kept=kept))

    async def _finalize(
        self, authority: Authority, market: ChainMarket, kept: bool, protocol: ProtocolState
    ) -> TaskAction:
        meant = await self._decide(authority, market, kept, protocol)
        if isinstance(meant, ChainIsAhead):
            return await self._caught_up(market, protocol)
        try:
            signature = await authority.send(market, meant.purpose, meant.instructions)
        except TransactionFailed as error:
            market = await authority.market(market.id)
            if market.account.state is not MarketState.RESOLVING:
                return await self._caught_up(market, protocol)
            return await self._problem(market.id, error, protocol)
        return _finalized(market.id, signature, kept=kept)

    async def _caught_up(self, market: ChainMarket, protocol: ProtocolState) -> TaskAction:
        try:
            return await catch_up(self._context, market)
        except NotCaughtUp as error:
            return await self._problem(market.id, error, protocol)

    async def _problem(self, market_id: str, error: ZmartdError, protocol: ProtocolState) -> TaskAction:
        """Record why a market was not finalized; until its next attempt it is left out of the batch."""
        error_code = error.failure.name if isinstance(error, TransactionFailed) else error.code
        async with self._database.service() as connection:
            problem = await finalization_errors.record(
                connection,
                market_id,
                task=TASK,
                error_code=error_code,
                error_message=error.message,
                now=protocol.time,
            )
        again = f"attempt {problem.attempt_count}, again after {iso_time(problem.next_attempt_at)}"
        detail = f"{error_code}: {error.message} ({again})"
        signature = error.signature if isinstance(error, TransactionFailed) else None
        return TaskAction(market_id, ACTION, ok=False, detail=detail, signature=signature)

    async def _clean_errors(self, protocol: ProtocolState) -> None:
        """Resolve the errors of markets that are finished, whoever finished them."""
        async with self._database.service() as connection:
            await finalization_errors.resolve_finished(connection, protocol.time)


def _finalized(market_id: str, signature: str, *, kept: bool) -> TaskAction:
    return TaskAction(market_id, ACTION, ok=True, detail=_reason(kept=kept), signature=signature)


def _reason(*, kept: bool) -> str:
    return "an admin decided to keep the outcome" if kept else "undisputed"

"""Counting of votes: closed, counted, acted on by one transaction, and reopened when that fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from asyncpg import Connection
from msgspec import Struct
from solders.instruction import Instruction

from zmartd.chain.program_accounts import ChainMarket
from zmartd.chain.signed_transactions import TransactionExpired, TransactionFailed
from zmartd.errors import ZmartdError
from zmartd.market.lifecycle import VoteKind
from zmartd.market.votes import CountingRule
from zmartd.store import finalization_errors, markets, tallies
from zmartd.store.tallies import Tally
from zmartd.tasks.authority import Authority, MarketAccountMissing, ProtocolState
from zmartd.tasks.base import TaskAction
from zmartd.tasks.catching_up import catch_up, has_same_resolution
from zmartd.tasks.context import TaskContext
from zmartd.tasks.fan_out import fan_out
from zmartd.tasks.meant import Meant

TASK: Final = "vote_aggregator"
"""The name of the task that counts votes: its entry point, and its rows in market_finalization_errors."""


class CountOutdated(ZmartdError):
    """The votes or the decision changed during the count; the next run starts again."""

    code = "count_outdated"


async def no_check(_connection: Connection) -> None:
    """The check of a transaction that depends on its tally alone."""


class PlannedTransaction(Struct, frozen=True):
    """A transaction that follows from a count, before it is signed.

    `rule` is what the counts were held to. `check` runs in the database transaction that records it. It
    raises an error where something else that the transaction depends on has changed.
    """

    purpose: str
    instructions: tuple[Instruction, ...]
    detail: str
    rule: CountingRule
    check: Callable[[Connection], Awaitable[None]] = no_check

    def for_market(self, market: ChainMarket) -> Meant:
        return Meant(market, self.purpose, self.instructions, self.detail)


Count = Callable[[str], Awaitable[Tally | None]]
"""Counts the closed votes of a market once. None: another run has reopened them."""

Decide = Callable[[ChainMarket, Tally], Awaitable[PlannedTransaction | TaskAction | None]]
"""What follows from a market's account and its tally: a transaction, an action to report while the votes stay
closed, or None where the votes decide nothing and are reopened."""


class VoteCounting:
    """The counting of votes of one kind.

    An open tally in the database keeps a market's votes closed from before the count until the market has
    changed its state, or the transaction has certainly failed. A run that is killed in between leaves the
    tally open, and the next run continues with the same counts.
    """

    def __init__(self, kind: VoteKind, context: TaskContext, authority: Authority) -> None:
        self._kind = kind
        self._context = context
        self._database = context.database
        self._authority = authority

    async def unfinished(self, connection: Connection, protocol: ProtocolState) -> list[str]:
        """The markets whose votes an earlier run closed, but for those that wait for another attempt."""
        open_tallies = await tallies.open_tallies(connection, self._kind, protocol.time)
        return [tally.market_id for tally in open_tallies]

    async def run(
        self, market_ids: Iterable[str], count: Count, decide: Decide, protocol: ProtocolState
    ) -> list[TaskAction]:
        """Close and count the votes of these markets, and do what `decide` says."""
        counted: dict[str, Tally] = {}

        async def close_and_count(market_id: str) -> None:
            async with self._database.service() as connection:
                tally: Tally | None = await tallies.close(connection, self._kind, market_id)
            if tally is not None and tally.counted_at is None:
                tally = await count(market_id)
            if tally is None:
                raise CountOutdated
            counted[market_id] = tally

        failures = await fan_out(market_ids, "count", close_and_count)
        # Read after the votes were closed, so that the decisions are about the markets' present state.
        found = await self._authority.markets(counted)

        done: dict[str, TaskAction] = {}
        # What settles a dispute depends on more than its tally: these are sent one by one.
        if self._kind is VoteKind.PROPOSAL and len(found) > 1:
            done = await self._send_together(found, counted, decide)
            found = await self._authority.markets(key for key in counted if key not in done)

        async def act(market_id: str) -> TaskAction | None:
            if market_id in done:
                await self._finish(market_id, protocol)
                return done[market_id]
            if market_id not in found:
                raise MarketAccountMissing
            return await self._act(found[market_id], counted[market_id], decide, protocol)

        return failures + await fan_out(counted, "settle", act)

    async def _send_together(
        self, found: Mapping[str, ChainMarket], counted: Mapping[str, Tally], decide: Decide
    ) -> dict[str, TaskAction]:
        """What landed in transactions for several markets, by market."""
        planned: dict[str, PlannedTransaction] = {}
        for market_id, market in found.items():
            if market.account.state is self._kind.open_state:
                decision = await decide(market, counted[market_id])
                if isinstance(decision, PlannedTransaction):
                    planned[market_id] = decision
        meant = [one.for_market(found[key]) for key, one in planned.items()]

        async def record(connection: Connection, signatures: Mapping[str, str]) -> None:
            now = await tallies.lock_all(connection, self._kind, signatures)
            if any(key not in now or not _is_same(now[key], counted[key]) for key in signatures):
                raise CountOutdated
            rules = {key: planned[key].rule for key in signatures}
            await tallies.set_signatures(connection, self._kind, signatures, rules)

        sent = await self._authority.send_together(meant, record)
        return {
            key: TaskAction(
                key, planned[key].purpose, ok=True, detail=planned[key].detail, signature=signature
            )
            for key, signature in sent.items()
        }

    async def _act(
        self, market: ChainMarket, tally: Tally, decide: Decide, protocol: ProtocolState
    ) -> TaskAction | None:
        if market.account.state is not self._kind.open_state:
            return await self._catch_up(market, protocol)
        if self._kind is VoteKind.DISPUTE and not await has_same_resolution(self._context, market):
            return await self._catch_up(market, protocol)
        decision = await decide(market, tally)
        if decision is None:
            await self._reopen(market)
        if not isinstance(decision, PlannedTransaction):
            return decision
        try:
            return await self._send(market, tally, decision, protocol)
        except TransactionExpired as error:
            await self._unrecord(market)
            return TaskAction(market.id, decision.purpose, ok=False, detail=error.message)
        except TransactionFailed as error:
            return await self._failed(market.id, decision, error, protocol)

    async def _send(
        self, market: ChainMarket, tally: Tally, planned: PlannedTransaction, protocol: ProtocolState
    ) -> TaskAction:
        async def record(connection: Connection, signature: str) -> None:
            now = await tallies.close(connection, self._kind, market.id)
            if not _is_same(now, tally):
                raise CountOutdated
            await planned.check(connection)
            await tallies.set_signature(connection, self._kind, market.id, signature, planned.rule)

        signature = await self._authority.send(market, planned.purpose, planned.instructions, record)
        await self._finish(market.id, protocol)
        return TaskAction(market.id, planned.purpose, ok=True, detail=planned.detail, signature=signature)

    async def _catch_up(self, market: ChainMarket, protocol: ProtocolState) -> TaskAction:
        """Index what another daemon, or this one before it was killed, has done."""
        action = await catch_up(self._context, market)
        await self._finish(market.id, protocol)
        return action

    async def _failed(
        self, market_id: str, planned: PlannedTransaction, error: TransactionFailed, protocol: ProtocolState
    ) -> TaskAction:
        market = await self._authority.market(market_id)
        if market.account.state is not self._kind.open_state:
            return await self._catch_up(market, protocol)
        await self._unrecord(market)
        async with self._database.service() as connection:
            problem = await finalization_errors.record(
                connection,
                market_id,
                task=TASK,
                error_code=error.failure.name,
                error_message=error.message,
                now=protocol.time,
            )
        detail = f"{error.failure.name}: {error.message} (attempt {problem.attempt_count})"
        return TaskAction(market_id, planned.purpose, ok=False, detail=detail, signature=error.signature)

    async def _unrecord(self, market: ChainMarket) -> None:
        """Remove the signature of a transaction that is not on the chain and never will be, unless another
        daemon has recorded its own since.
        """
        if self._kind.has_an_end:
            async with self._database.service() as connection:
                await tallies.clear_signature(connection, self._kind, market.id, market.slot)
        else:
            await self._reopen(market)

    async def _reopen(self, market: ChainMarket) -> None:
        """Take votes again, unless the transaction of another daemon with these counts may still land."""
        async with self._database.service() as connection:
            await tallies.reopen(connection, self._kind, market.id, market.slot)

    async def _finish(self, market_id: str, protocol: ProtocolState) -> None:
        """Release the tally, once the index has the market's new state: until then new votes would be
        accepted that could not be counted any more.
        """
        async with self._database.service() as connection:
            market = await markets.get(connection, market_id)
            if market.state is not self._kind.open_state:
                await tallies.settle(connection, self._kind, market_id)
                await finalization_errors.resolve(connection, market_id, TASK, protocol.time)


def _is_same(one: Tally, other: Tally) -> bool:
    return (one.counts, one.stake, one.counted_at) == (other.counts, other.stake, other.counted_at)

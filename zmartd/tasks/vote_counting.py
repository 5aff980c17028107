"""Counting of votes: closed, counted, acted on by one transaction, and reopened when that fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from asyncpg import Connection
from msgspec import Struct
from solders.instruction import Instruction

from zmartd.chain.program_accounts import ChainMarket
from zmartd.chain.signed_transactions import TransactionExpired, TransactionFailed
from zmartd.errors import ZmartdError
from zmartd.market.iso_time import iso_time
from zmartd.market.lifecycle import VoteKind
from zmartd.market.votes import CountingRule
from zmartd.store import finalization_errors, markets, tallies, voter_checks
from zmartd.store.due_markets import DueMarket
from zmartd.store.finalization_errors import FinalizationError
from zmartd.store.markets import MarketRow
from zmartd.store.postgres.reader import Reads
from zmartd.store.tallies import Tally
from zmartd.tasks.actions import Actions
from zmartd.tasks.authority import Authority, MarketAccountMissing, ProtocolState
from zmartd.tasks.base import TaskAction
from zmartd.tasks.catching_up import catch_up, is_same_resolution
from zmartd.tasks.context import TaskContext
from zmartd.tasks.fan_out import fan_out
from zmartd.tasks.meant import Meant
from zmartd.tasks.node_requests import NodeRequests

TASK: Final = "vote_aggregator"
"""The name of the task that counts votes: its entry point, and its rows in market_finalization_errors."""
DUE_AT_ONCE: Final = 2_000
"""The most markets whose votes are due that are listed in one read."""
STEPS_AT_ONCE: Final = 100
"""The most markets that get a step before it is asked again which ones got the fewest."""
ACTED_ON_AT_ONCE: Final = 100
"""The most markets that are read together, by one request to the node."""
MAX_FAILED: Final = 1_000
"""A run in which the counting of more markets fails goes on with no others."""
NAMED_UNCOUNTED: Final = 3


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


Decide = Callable[[ChainMarket, Tally, MarketRow], Awaitable[PlannedTransaction | TaskAction | None]]
"""What follows from a market's account, its tally and its row: a transaction, an action to report while the
votes stay closed, or None where the votes decide nothing and are reopened."""


class Rules(Protocol):
    """How the votes of one kind are counted, and what follows from them, in one run."""

    async def due(self, connection: Reads, after: DueMarket | None, limit: int) -> list[DueMarket]:
        """Markets whose votes are open and to be counted: at most `limit`, those that come after `after`."""

    async def are_voters_known(self, market_id: str) -> bool:
        """Take one step, of a bounded number of requests, to know of all voters whether their votes count."""

    async def count(self, connection: Connection, market_id: str) -> Tally | None:
        """Count the closed votes of a market once. None: another run has reopened them."""

    async def decider(self, connection: Reads, market_ids: Sequence[str]) -> Decide:
        """What decides about these markets, with all that it has to know of them."""


class VoteCounting:
    """The counting of votes of one kind.

    An open tally in the database keeps a market's votes closed from before the count until the market has
    changed its state, or the transaction has certainly failed. A run that is killed in between leaves the
    tally open, and the next run continues with the same counts.

    What a run holds in memory depends on neither the number of votes nor that of markets. It takes a bounded
    number of requests to the node, and leaves the rest to the next run. Votes of which there are few are
    counted first: each market gets one step, and then those go on for which the node was asked least.
    """

    def __init__(
        self, kind: VoteKind, context: TaskContext, authority: Authority, requests: NodeRequests
    ) -> None:
        self._kind = kind
        self._context = context
        self._database = context.database
        self._authority = authority
        self._requests = requests

    async def run(self, rules: Rules, protocol: ProtocolState) -> Actions:
        """Close and count the votes that are due, and do what follows from them."""
        actions = Actions()
        failed: set[str] = set()
        await self._count_new(rules, actions, failed)
        await self._count_closed(rules, actions, failed)
        await self._act_on_counted(rules, protocol, actions)
        return actions

    async def _count_new(self, rules: Rules, actions: Actions, failed: set[str]) -> None:
        """Close the votes that are due, and take one step for each."""
        after: DueMarket | None = None
        while self._requests.left:
            async with self._database.service_reader() as connection:
                due = await rules.due(connection, after, DUE_AT_ONCE)
            await self._step_each([one.id for one in due], rules, actions, failed)
            if len(due) < DUE_AT_ONCE:
                break
            after = due[-1]

    async def _count_closed(self, rules: Rules, actions: Actions, failed: set[str]) -> None:
        """Go on with votes that are closed and not counted, until none are left or the run has to stop."""
        closed: list[str] = []
        while len(failed) <= MAX_FAILED:
            async with self._database.service_reader() as connection:
                closed = await tallies.not_counted(connection, self._kind, STEPS_AT_ONCE, but=failed)
            before = self._requests.left, len(failed)
            if not closed or not self._requests.left:
                break
            counted = await self._step_each(closed, rules, actions, failed)
            if not counted and before == (self._requests.left, len(failed)):
                break
        if closed:
            names = ", ".join(closed[:NAMED_UNCOUNTED])
            detail = f"the next run goes on with the voters of {names}"
            more = " and of others" if len(closed) > NAMED_UNCOUNTED else ""
            actions.add(TaskAction(None, "count_votes", ok=True, detail=detail + more))

    async def _step_each(
        self, market_ids: Sequence[str], rules: Rules, actions: Actions, failed: set[str]
    ) -> int:
        """Take one step for each of these markets; how many are counted now."""
        counted = 0

        async def step(market_id: str) -> TaskAction | None:
            nonlocal counted
            if self._requests.left:
                try:
                    counted += await self._step(market_id, rules)
                except Exception:
                    failed.add(market_id)
                    raise
            return None

        actions.extend(await fan_out(market_ids, "count", step, self._context.failures))
        return counted

    async def _step(self, market_id: str, rules: Rules) -> bool:
        """Whether the market's votes are counted now."""
        async with self._database.service() as connection:
            tally: Tally | None = await tallies.close(connection, self._kind, market_id)
        if tally is None or tally.counted_at is not None:
            return tally is not None
        try:
            if not await rules.are_voters_known(market_id):
                return False
        except ZmartdError:
            async with self._database.service() as connection:
                await voter_checks.record_spent(connection, self._kind, market_id, 1)
            raise
        async with self._database.service() as connection:
            tally = await rules.count(connection, market_id)
        if tally is None:
            raise CountOutdated
        return tally.counted_at is not None

    async def _act_on_counted(self, rules: Rules, protocol: ProtocolState, actions: Actions) -> None:
        """Do what follows from the counts, some markets at a time. Writes nothing where nothing changed."""
        after: Tally | None = None
        while True:
            async with self._database.service_reader() as connection:
                page = await tallies.counted(
                    connection, self._kind, protocol.time, after=after, limit=ACTED_ON_AT_ONCE
                )
                if not page:
                    return
                market_ids = [tally.market_id for tally in page]
                rows = {row.id: row for row in await markets.find_all(connection, market_ids)}
                decide = await rules.decider(connection, market_ids)
            counted = {tally.market_id: tally for tally in page}
            actions.extend(await self._act_on(counted, rows, decide, protocol))
            if len(page) < ACTED_ON_AT_ONCE:
                return
            after = page[-1]

    async def _act_on(
        self,
        counted: Mapping[str, Tally],
        rows: Mapping[str, MarketRow],
        decide: Decide,
        protocol: ProtocolState,
    ) -> list[TaskAction]:
        # Read after the votes were closed, so that the decisions are about the markets' present state.
        found = await self._authority.markets(counted)
        done: dict[str, TaskAction] = {}
        # What settles a dispute depends on more than its tally: these are sent one by one.
        if self._kind is VoteKind.PROPOSAL and len(found) > 1:
            done = await self._send_together(found, counted, rows, decide)
            if done:
                found = await self._authority.markets(key for key in counted if key not in done)

        async def act(market_id: str) -> TaskAction | None:
            if market_id in done:
                await self._finish(market_id, protocol)
                return done[market_id]
            if market_id not in found:
                return await self._missing(market_id, protocol)
            return await self._act(found[market_id], counted[market_id], rows[market_id], decide, protocol)

        return await fan_out(counted, "settle", act, self._context.failures)

    async def _send_together(
        self,
        found: Mapping[str, ChainMarket],
        counted: Mapping[str, Tally],
        rows: Mapping[str, MarketRow],
        decide: Decide,
    ) -> dict[str, TaskAction]:
        """What landed in transactions for several markets, by market."""
        planned: dict[str, PlannedTransaction] = {}
        for market_id, market in found.items():
            if market.account.state is self._kind.open_state:
                decision = await decide(market, counted[market_id], rows[market_id])
                if isinstance(decision, PlannedTransaction):
                    planned[market_id] = decision
        if len(planned) < 2:
            return {}
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
        self, market: ChainMarket, tally: Tally, row: MarketRow, decide: Decide, protocol: ProtocolState
    ) -> TaskAction | None:
        if market.account.state is not self._kind.open_state:
            return await self._catch_up(market, protocol)
        if self._kind is VoteKind.DISPUTE and not is_same_resolution(row, market):
            return await self._catch_up(market, protocol)
        decision = await decide(market, tally, row)
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
        problem = await self._record_problem(market_id, error.failure.name, error.message, protocol)
        detail = f"{error.failure.name}: {error.message} (attempt {problem.attempt_count})"
        return TaskAction(market_id, planned.purpose, ok=False, detail=detail, signature=error.signature)

    async def _missing(self, market_id: str, protocol: ProtocolState) -> TaskAction:
        """A market that a fork may have taken for good: it waits longer after each attempt."""
        error = MarketAccountMissing()
        problem = await self._record_problem(market_id, error.code, error.message, protocol)
        again = f"attempt {problem.attempt_count}, again after {iso_time(problem.next_attempt_at)}"
        return TaskAction(market_id, "settle", ok=False, detail=f"{error.message} ({again})")

    async def _record_problem(
        self, market_id: str, code: str, message: str, protocol: ProtocolState
    ) -> FinalizationError:
        async with self._database.service() as connection:
            return await finalization_errors.record(
                connection, market_id, task=TASK, error_code=code, error_message=message, now=protocol.time
            )

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

"""Votes are closed, counted, recorded on the chain by one transaction, and opened again if that fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from asyncpg import Connection
from msgspec import Struct
from solders.instruction import Instruction

from zmartd.chain.program_accounts import ChainMarket
from zmartd.chain.signed_transactions import TransactionExpired, TransactionFailed
from zmartd.errors import ZmartdError
from zmartd.market.lifecycle import VoteKind
from zmartd.store import finalization_errors, markets, tallies
from zmartd.store.tallies import Tally
from zmartd.tasks.authority import Authority, MarketAccountMissing, Protocol
from zmartd.tasks.base import Action
from zmartd.tasks.catching_up import catch_up
from zmartd.tasks.context import TaskContext
from zmartd.tasks.fan_out import each_market

TASK: Final = "vote_aggregator"
"""Whose work this is, in the entry points and in market_finalization_errors."""


class CountVoid(ZmartdError):
    """What was counted or decided is not what holds any more; the next run starts anew."""

    code = "count_void"


async def nothing_else(_connection: Connection) -> None:
    """The check of a motion that depends on its tally alone."""


class Motion(Struct, frozen=True):
    """The transaction that a count calls for.

    `check` runs in the database transaction that records it, and raises CountVoid where the motion depends on
    something that has changed.
    """

    purpose: str
    instructions: tuple[Instruction, ...]
    detail: str
    check: Callable[[Connection], Awaitable[None]] = nothing_else


Count = Callable[[str], Awaitable[Tally | None]]
"""Counts the closed votes of a market once. None: another run opened them again."""

Decide = Callable[[ChainMarket, Tally], Awaitable[Motion | Action | None]]
"""What follows from a market's account and its counted votes: a motion, something to report while the votes
stay closed, or None: the votes decide nothing and go on."""


class Ballots:
    """The votes of one kind.

    A tally in the database closes a market's votes from before they are counted until the market has moved on
    or the attempt has failed for certain. A run that is killed in between leaves it open, and the next one
    goes on from the same counts.
    """

    def __init__(self, kind: VoteKind, context: TaskContext, authority: Authority) -> None:
        self._kind = kind
        self._context = context
        self._database = context.database
        self._authority = authority

    async def left_open(self, connection: Connection) -> list[str]:
        """The markets whose votes an earlier run closed."""
        return [tally.market_id for tally in await tallies.open_tallies(connection, self._kind)]

    async def settle(
        self, market_ids: Iterable[str], count: Count, decide: Decide, protocol: Protocol
    ) -> list[Action]:
        """Close and count the votes of these markets, then do what `decide` makes of them."""
        counted: dict[str, Tally] = {}

        async def close_and_count(market_id: str) -> None:
            async with self._database.service() as connection:
                tally: Tally | None = await tallies.close(connection, self._kind, market_id)
            if tally is not None and tally.counted_at is None:
                tally = await count(market_id)
            if tally is None:
                raise CountVoid(market_id=market_id)
            counted[market_id] = tally

        failures = await each_market(market_ids, "count", close_and_count)
        # Read after the votes were closed: what is decided below is about the market as it is now.
        found = await self._authority.markets(counted)

        async def settle(market_id: str) -> Action | None:
            if market_id not in found:
                raise MarketAccountMissing(market_id=market_id)
            return await self._settle(found[market_id], counted[market_id], decide, protocol)

        return failures + await each_market(counted, "settle", settle)

    async def _settle(
        self, market: ChainMarket, tally: Tally, decide: Decide, protocol: Protocol
    ) -> Action | None:
        if market.account.state is not self._kind.open_state:
            return await self._moved_on(market, protocol)
        decision = await decide(market, tally)
        if decision is None:
            await self._reopen(market.id)
        if not isinstance(decision, Motion):
            return decision
        try:
            return await self._carry(market, tally, decision, protocol)
        except TransactionExpired as error:
            await self._take_back(market.id)
            return Action(market.id, decision.purpose, ok=False, detail=error.message)
        except TransactionFailed as error:
            return await self._failed(market.id, decision, error, protocol)

    async def _carry(self, market: ChainMarket, tally: Tally, motion: Motion, protocol: Protocol) -> Action:
        async def record(connection: Connection, signature: str) -> None:
            now = await tallies.close(connection, self._kind, market.id)
            if (now.counts, now.stake, now.counted_at) != (tally.counts, tally.stake, tally.counted_at):
                raise CountVoid(market_id=market.id)
            await motion.check(connection)
            await tallies.set_signature(connection, self._kind, market.id, signature)

        signature = await self._authority.send(market, motion.purpose, motion.instructions, record)
        await self._release_moved(market.id, protocol)
        return Action(market.id, motion.purpose, ok=True, detail=motion.detail, signature=signature)

    async def _moved_on(self, market: ChainMarket, protocol: Protocol) -> Action:
        """Somebody else, or this daemon before it was killed, did it already."""
        action = await catch_up(self._context, market)
        await self._release_moved(market.id, protocol)
        return action

    async def _failed(
        self, market_id: str, motion: Motion, error: TransactionFailed, protocol: Protocol
    ) -> Action:
        market = await self._authority.market(market_id)
        if market.account.state is not self._kind.open_state:
            return await self._moved_on(market, protocol)
        await self._take_back(market_id)
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
        return Action(market_id, motion.purpose, ok=False, detail=detail, signature=error.signature)

    async def _take_back(self, market_id: str) -> None:
        """The transaction is not on the chain and never will be."""
        if self._kind.has_an_end:
            async with self._database.service() as connection:
                await tallies.set_signature(connection, self._kind, market_id, None)
        else:
            await self._reopen(market_id)

    async def _reopen(self, market_id: str) -> None:
        async with self._database.service() as connection:
            await tallies.release(connection, self._kind, market_id)

    async def _release_moved(self, market_id: str, protocol: Protocol) -> None:
        """Votes that the index would still take stay closed: they could not be counted any more."""
        async with self._database.service() as connection:
            market = await markets.get(connection, market_id)
            if market.state is not self._kind.open_state:
                await tallies.release(connection, self._kind, market_id)
                await finalization_errors.resolve(connection, market_id, TASK, protocol.time)

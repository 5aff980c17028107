"""Decisions of an admin about markets: which are possible, and how they are recorded.

A decision prompts a run of the vote aggregator, which carries it out.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final

from asyncpg import Connection
from msgspec import Struct

from zmartd.chain.accounts import GlobalConfig
from zmartd.chain.program import Program
from zmartd.chain.program_accounts import read_config
from zmartd.chain.rpc import Rpc
from zmartd.errors import AboutMarket, DetailedError, ZmartdError
from zmartd.market.decisions import Decision, is_trusted_resolver, possible_decisions
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.store import decisions, electorates, finalization_errors, markets, tallies
from zmartd.store.decisions import AlreadyDecided, MarketDecision
from zmartd.store.markets import MarketRow
from zmartd.store.postgres.database import Database
from zmartd.store.tallies import Tally
from zmartd.tasks.announcements import Announcements

RESOLVED_BY: Final = "decision"
"""What has resolved the failure of a market that an admin decided about."""


class NothingToDecide(DetailedError[AboutMarket]):
    """Its votes or its dispute window decide about this market, not an admin; wait for them."""

    code = "nothing_to_decide"


class SettlementUnderWay(DetailedError[AboutMarket]):
    """The dispute is being settled, and the transaction that does so has been sent; wait for its result."""

    code = "settlement_under_way"


class DisputeWindowClosed(DetailedError[AboutMarket]):
    """The dispute window of this market has passed, and the program can only finalize the proposed outcome;
    decide to keep it.
    """

    code = "dispute_window_closed"


class PendingDecisionChanged(ZmartdError):
    """The market or its votes have changed since they were shown: look at them again before you decide."""

    code = "pending_decision_changed"


class PendingDecision(Struct, frozen=True):
    """A market that an admin can decide about, and its votes."""

    market_id: str
    question: str
    state: MarketState
    proposed_outcome: bool | None
    """True for YES, False for NO; None: the market was proposed to be invalid."""
    tally: Tally | None
    """The votes of its dispute; None while voting goes on."""
    is_electorate_known: bool
    """Whether all stakes and votes are known; False where a transaction could not be read."""


def how_to_decide(market_id: str) -> str:
    """The command that decides about this market."""
    return f"zmartd decide {market_id} --{'|--'.join(Decision)} --because TEXT"


class AdminDecisions:
    """Accepts and records decisions. Its methods raise RpcUnavailable, DatabaseUnavailable and the like."""

    def __init__(
        self,
        database: Database,
        rpc: Rpc,
        program: Program,
        announcements: Announcements,
        trusted: Collection[str],
    ) -> None:
        self._database = database
        self._rpc = rpc
        self._program = program
        self._announcements = announcements
        self._trusted = trusted

    async def pending(self, reference: str, decision: Decision) -> PendingDecision:
        """The market with this id or address, as `decide` would find it. Raises what `decide` raises."""
        period_seconds, now = await self._period_and_now()
        async with self._database.service() as connection:
            market = await markets.get(connection, reference)
            pending = await self._pending(connection, market, decision, period_seconds, now)
            if await decisions.of_markets(connection, [market.id], market.state):
                raise AlreadyDecided(AboutMarket(market.id))
            return pending

    async def decide(
        self,
        reference: str,
        decision: Decision,
        because: str,
        decided_by: str | None,
        *,
        shown: PendingDecision | None = None,
    ) -> MarketDecision:
        """Record a decision about the market with this id or address. `decided_by` is None for an operator's.

        `shown` is what the admin saw before. Raises MarketNotFound, NothingToDecide, AlreadyDecided,
        SettlementUnderWay, DisputeWindowClosed, and PendingDecisionChanged where `shown` is outdated.
        """
        period_seconds, now = await self._period_and_now()
        async with self._database.service() as connection:
            market = await markets.get(connection, reference)
            # The task that settles a dispute takes the same lock before it records its transaction.
            await tallies.lock(connection, VoteKind.DISPUTE, market.id)
            market = await markets.get_unchanging(connection, market.id)
            pending = await self._pending(connection, market, decision, period_seconds, now)
            if shown is not None and shown != pending:
                raise PendingDecisionChanged
            recorded = await decisions.record(
                connection,
                market.id,
                market.state,
                decision=decision,
                because=because,
                decided_by=decided_by,
            )
            # What failed was something else than what is decided now.
            resolved_at = datetime.fromtimestamp(now, UTC)
            await finalization_errors.resolve(connection, market.id, RESOLVED_BY, resolved_at)
            changed = await markets.set_settlement(connection, market.id, market.state)
            messages = await self._announcements.append(connection, changed)
        await self._announcements.publish(messages)
        return recorded

    async def _pending(
        self, connection: Connection, market: MarketRow, decision: Decision, period_seconds: int, now: int
    ) -> PendingDecision:
        tally = await tallies.find(connection, VoteKind.DISPUTE, market.id)
        self._require_something_to_decide(market, tally)
        assert market.resolution_proposed_at is not None, "a resolution has a time"
        proposed_at = int(market.resolution_proposed_at.timestamp())
        if decision not in possible_decisions(market.state, proposed_at, period_seconds, now):
            raise DisputeWindowClosed(AboutMarket(market.id))
        not_known = await electorates.not_known(connection, [market.id])
        return PendingDecision(
            market.id, market.question, market.state, market.proposed_outcome, tally, not not_known
        )

    async def _period_and_now(self) -> tuple[int, int]:
        """The dispute period, and the chain's time in unix seconds."""
        return (await self._config()).dispute_period, (await self._rpc.chain_time()).unix_timestamp

    def _require_something_to_decide(self, market: MarketRow, tally: Tally | None) -> None:
        is_trusted = is_trusted_resolver(market.resolver_wallet, market.creator_wallet, self._trusted)
        about = AboutMarket(market.id)
        match market.state:
            case MarketState.RESOLVING if is_trusted:
                raise NothingToDecide(
                    about,
                    "The market's creator or a trusted resolver proposed the outcome: time makes it final "
                    "unless somebody disputes it.",
                )
            case MarketState.DISPUTED if tally is not None and tally.signature is not None:
                raise SettlementUnderWay(about)
            case MarketState.DISPUTED if is_trusted and (tally is None or tally.counted_at is None):
                raise NothingToDecide(
                    about, "The holders are voting: a decision is possible once their votes are counted."
                )
            case MarketState.RESOLVING | MarketState.DISPUTED:
                return
            case state:
                raise NothingToDecide(
                    about,
                    f"Decisions are about RESOLVING and DISPUTED markets, and this one is {state.name}.",
                )

    async def _config(self) -> GlobalConfig:
        return await read_config(self._rpc, self._program.program_id)

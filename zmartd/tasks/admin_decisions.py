"""An admin decides what becomes of a market: whether there is something to decide, and that it is kept.

The vote aggregator carries a decision out, within its next run.
"""

from __future__ import annotations

from collections.abc import Collection

from asyncpg import Connection
from msgspec import Struct

from zmartd.chain.accounts import GlobalConfig
from zmartd.chain.program import Program
from zmartd.chain.program_accounts import read_config
from zmartd.chain.rpc import Rpc
from zmartd.errors import ZmartdError
from zmartd.market import lifecycle
from zmartd.market.decisions import Decision, is_trusted_resolver
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.store import decisions, markets, tallies
from zmartd.store.decisions import AlreadyDecided, MarketDecision
from zmartd.store.markets import MarketRow
from zmartd.store.postgres.database import Database
from zmartd.store.tallies import Tally
from zmartd.tasks.announcements import Notices


class NotTheAdmin(ZmartdError):
    """Only the program's admin decides about markets."""

    code = "not_the_admin"


class NothingToDecide(ZmartdError):
    """The votes or the dispute window decide about this market, not an admin."""

    code = "nothing_to_decide"


class SettlementUnderWay(ZmartdError):
    """The dispute is being settled: the transaction that does so has been sent."""

    code = "settlement_under_way"


class DisputeWindowClosed(ZmartdError):
    """The dispute window of this market has passed: the program only knows the proposed outcome, so the one
    decision that can be carried out is to keep it."""

    code = "dispute_window_closed"


class QuestionChanged(ZmartdError):
    """The market or its votes have changed since they were shown: look again, and decide then."""

    code = "question_changed"


class OpenQuestion(Struct, frozen=True):
    """A market that an admin can decide about."""

    market_id: str
    text: str
    state: MarketState
    proposed_outcome: bool | None
    """Whether it is YES or NO; None: the market was proposed to be invalid."""
    tally: Tally | None
    """The votes of its dispute; None while they are not closed."""


def how_to_decide(market_id: str) -> str:
    """The command that decides about a market."""
    return f"zmartd decide {market_id} --{'|--'.join(Decision)} --because TEXT"


class Deciding:
    """Takes admins' decisions. Raises RpcUnavailable, DatabaseUnavailable and the like."""

    def __init__(
        self, database: Database, rpc: Rpc, program: Program, notices: Notices, trusted: Collection[str]
    ) -> None:
        self._database = database
        self._rpc = rpc
        self._program = program
        self._notices = notices
        self._trusted = trusted

    async def require_admin(self, wallet: str) -> None:
        """Raises NotTheAdmin where `wallet` is not the admin that the program itself names."""
        if str((await self._config()).admin) != wallet:
            raise NotTheAdmin

    async def question(self, reference: str, decision: Decision) -> OpenQuestion:
        """What `decide` would decide about the market with this id or address. Raises what it raises."""
        period_seconds, now = await self._period_and_now()
        async with self._database.service() as connection:
            market = await markets.get(connection, reference)
            question = await self._question(connection, market, decision, period_seconds, now)
            if await decisions.of_markets(connection, [market.id], market.state):
                raise AlreadyDecided(market_id=market.id)
            return question

    async def decide(
        self,
        reference: str,
        decision: Decision,
        because: str,
        decided_by: str | None,
        *,
        shown: OpenQuestion | None = None,
    ) -> MarketDecision:
        """Keep a decision about the market with this id or address; an operator's has no `decided_by`.

        `shown` is what the admin was shown before. Raises MarketNotFound, NothingToDecide, AlreadyDecided,
        SettlementUnderWay, DisputeWindowClosed, and QuestionChanged where `shown` does not hold any more.
        """
        period_seconds, now = await self._period_and_now()
        async with self._database.service() as connection:
            market = await markets.get(connection, reference)
            # Whoever settles the dispute takes the same lock before it records its transaction.
            await tallies.lock(connection, VoteKind.DISPUTE, market.id)
            market = await markets.get(connection, market.id)
            question = await self._question(connection, market, decision, period_seconds, now)
            if shown is not None and shown != question:
                raise QuestionChanged(market_id=market.id)
            kept = await decisions.record(
                connection,
                market.id,
                market.state,
                decision=decision,
                because=because,
                decided_by=decided_by,
            )
            changed = await markets.set_settlement(connection, market.id, market.state)
        if changed is not None:
            await self._notices.publish(changed)
        return kept

    async def _question(
        self, connection: Connection, market: MarketRow, decision: Decision, period_seconds: int, now: int
    ) -> OpenQuestion:
        tally = await tallies.find(connection, VoteKind.DISPUTE, market.id)
        self._require_something_to_decide(market, tally)
        if market.state is MarketState.RESOLVING and decision is not Decision.KEEP:
            assert market.resolution_proposed_at is not None, "a resolution has a time"
            proposed_at = int(market.resolution_proposed_at.timestamp())
            if now >= lifecycle.dispute_closes_at(proposed_at, period_seconds):
                raise DisputeWindowClosed(market_id=market.id)
        return OpenQuestion(market.id, market.question, market.state, market.proposed_outcome, tally)

    async def _period_and_now(self) -> tuple[int, int]:
        """The dispute period, and the chain's time in unix seconds."""
        return (await self._config()).dispute_period, (await self._rpc.chain_time()).unix_timestamp

    def _require_something_to_decide(self, market: MarketRow, tally: Tally | None) -> None:
        is_trusted = is_trusted_resolver(market.resolver_wallet, market.creator_wallet, self._trusted)
        match market.state:
            case MarketState.RESOLVING if is_trusted:
                raise NothingToDecide(
                    "the market's creator or a trusted resolver proposed the outcome: time makes it final "
                    "unless somebody disputes it",
                    market_id=market.id,
                )
            case MarketState.DISPUTED if tally is not None and tally.signature is not None:
                raise SettlementUnderWay(market_id=market.id)
            case MarketState.DISPUTED if is_trusted and (tally is None or tally.counted_at is None):
                raise NothingToDecide(
                    "the holders are voting: a decision is possible once their votes are counted",
                    market_id=market.id,
                )
            case MarketState.RESOLVING | MarketState.DISPUTED:
                return
            case state:
                raise NothingToDecide(
                    f"decisions are about RESOLVING and DISPUTED markets, and this one is {state.name}",
                    market_id=market.id,
                )

    async def _config(self) -> GlobalConfig:
        return await read_config(self._rpc, self._program.program_id)

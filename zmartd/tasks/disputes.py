"""Disputes whose voting has ended: counted by wallet and by stake, and settled or left to an admin."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Literal

from asyncpg import Connection
from msgspec import Struct

from zmartd.chain.program_accounts import ChainMarket
from zmartd.market import lifecycle
from zmartd.market.decisions import Decision, Undecided, dispute_verdict
from zmartd.market.iso_time import iso_time
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.market.votes import CountingRule, share_bps
from zmartd.store import decisions, due_markets, electorates, tallies, voters
from zmartd.store.decisions import MarketDecision
from zmartd.store.tallies import Tally
from zmartd.tasks.admin_decisions import how_to_decide
from zmartd.tasks.announcements import Announcements
from zmartd.tasks.authority import Authority, MarketAccountMissing, ProtocolState
from zmartd.tasks.base import TaskAction
from zmartd.tasks.catching_up import has_same_resolution
from zmartd.tasks.context import TaskContext
from zmartd.tasks.decision_execution import decision_instruction, require_decision
from zmartd.tasks.meant import Meant
from zmartd.tasks.plan import Plan, plan_each
from zmartd.tasks.vote_counting import PlannedTransaction, VoteCounting
from zmartd.tasks.voter_verification import require_voters_on_chain

AWAIT_DECISION: Final = "await_decision"
ANNOUNCE_SETTLEMENT: Final = "announce_settlement"

OUTCOMES: Final = {True: "YES", False: "NO", None: "INVALID"}
_REASONS: Final = {
    Undecided.NO_VOTES: "nobody who may vote has voted",
    Undecided.QUORUM_MISSED: "too little of the stake has voted",
    Undecided.TALLIES_DIFFER: "wallets and stake say different things",
    Undecided.ELECTORATE_NOT_KNOWN: (
        "a transaction of the market could not be read, so that not all votes and stakes are known"
    ),
}


class DueDisputes(Struct, frozen=True):
    """Disputes that may be settled, what an admin decided about them, and whose electorate is not known."""

    market_ids: tuple[str, ...]
    decided: Mapping[str, MarketDecision]
    not_known: frozenset[str]


class Disputes:
    """Finalizes disputed markets.

    The program sets no end for the voting on a dispute; only this class decides it. The votes settle a
    dispute where all of them are known, both tallies agree and enough stake has voted, `veto_seconds` after
    that was announced. In all other cases the market stays DISPUTED until an admin decides. A decision is
    carried out at once.
    """

    def __init__(self, context: TaskContext, authority: Authority, announcements: Announcements) -> None:
        self._context = context
        self._voting = context.voting
        self._database = context.database
        self._rpc = context.rpc
        self._program = context.program
        self._authority = authority
        self._announcements = announcements
        self._counting = VoteCounting(VoteKind.DISPUTE, context, authority)

    async def run(self, protocol: ProtocolState) -> list[TaskAction]:
        due = await self._due(protocol)
        market_ids, decided, not_known = due.market_ids, due.decided, due.not_known

        async def decide(market: ChainMarket, tally: Tally) -> PlannedTransaction | TaskAction | None:
            if decision := decided.get(market.id):
                return self._as_decided(market, decision, protocol)
            return await self._as_voted(market, tally, protocol, is_known=market.id not in not_known)

        async def count(market_id: str) -> Tally | None:
            if market_id not in decided:
                await self._verify(market_id, protocol.config.dispute_period)
            async with self._database.service() as connection:
                return await tallies.count_dispute(connection, market_id)

        return await self._counting.run(market_ids, count, decide, protocol)

    async def plan(self, protocol: ProtocolState) -> Plan:
        """What `run` would send, by the votes as they are."""
        due = await self._due(protocol)
        found = await self._authority.markets(due.market_ids)

        async def decide(market_id: str) -> Meant | None:
            market = found.get(market_id)
            if market is None:
                raise MarketAccountMissing
            is_open = market.account.state is MarketState.DISPUTED
            if not is_open or not await has_same_resolution(self._context, market):
                return None
            if decision := due.decided.get(market_id):
                return self._as_decided(market, decision, protocol).for_market(market)
            if not _is_over(market, protocol):
                return None
            tally = await self._would_count(market_id, protocol)
            verdict = self._verdict(tally, protocol, is_known=market_id not in due.not_known)
            if isinstance(verdict, Undecided) or protocol.time < self._settles_at(tally, verdict, protocol):
                return None
            detail = _settlement_in_words(market, tally, verdict)
            return self._settlement(market, tally, detail, protocol).for_market(market)

        return await plan_each(due.market_ids, decide)

    async def _due(self, protocol: ProtocolState) -> DueDisputes:
        opened_until = protocol.before(protocol.config.dispute_period)
        async with self._database.service() as connection:
            ended = await due_markets.ended_disputes(connection, opened_until, protocol.time)
            unfinished = await self._counting.unfinished(connection, protocol)
            market_ids = tuple(dict.fromkeys([*unfinished, *ended]))
            decided = await decisions.of_markets(connection, market_ids, MarketState.DISPUTED)
            not_known = await electorates.not_known(connection, market_ids)
        return DueDisputes(market_ids, decided, frozenset(not_known))

    async def _would_count(self, market_id: str, protocol: ProtocolState) -> Tally:
        async with self._database.service_reader() as connection:
            tally = await tallies.find(connection, VoteKind.DISPUTE, market_id)
        if tally is not None and tally.counted_at is not None:
            return tally
        await self._verify(market_id, protocol.config.dispute_period)
        async with self._database.service_reader() as connection:
            return await tallies.preview_dispute(connection, market_id)

    async def _verify(self, market_id: str, dispute_period_seconds: int) -> None:
        async with self._database.service_reader() as connection:
            await electorates.require_read(connection, market_id, dispute_period_seconds)
            holders = await voters.on_dispute(connection, market_id)
        await require_voters_on_chain(self._rpc, self._program, market_id, holders)

    def _as_decided(
        self, market: ChainMarket, decided: MarketDecision, protocol: ProtocolState
    ) -> PlannedTransaction:
        decision = decided.decision
        instruction = decision_instruction(self._program, self._authority.address, market.address, decision)
        return PlannedTransaction(
            "refund_market" if decision is Decision.REFUND else "finalize_market",
            (instruction,),
            f"decided to {decision.value}: {decided.because}",
            self._rule(protocol, "admin"),
            partial(require_decision, market_id=market.id, state=MarketState.DISPUTED, expected=decided),
        )

    async def _as_voted(
        self, market: ChainMarket, tally: Tally, protocol: ProtocolState, *, is_known: bool
    ) -> PlannedTransaction | TaskAction | None:
        if not _is_over(market, protocol):
            return None
        verdict = self._verdict(tally, protocol, is_known=is_known)
        if isinstance(verdict, Undecided):
            reason = f"{_REASONS[verdict]} ({votes_in_words(tally, market.account.proposed_outcome)})"
            await self._announcements.announce_awaited_decision(market.id, MarketState.DISPUTED, reason)
            detail = f"{reason}: `{how_to_decide(market.id)}` settles it"
            return TaskAction(market.id, AWAIT_DECISION, ok=False, detail=detail, awaits_admin=True)
        detail = _settlement_in_words(market, tally, verdict)
        settles_at = self._settles_at(tally, verdict, protocol)
        is_first = await self._announcements.announce_settlement(market.id, verdict, settles_at, detail)
        if protocol.time < settles_at:
            when = f"{detail} at {iso_time(settles_at)}, unless an admin decides otherwise"
            return TaskAction(market.id, ANNOUNCE_SETTLEMENT, ok=not is_first, detail=when, awaits_admin=True)
        return self._settlement(market, tally, detail, protocol)

    def _verdict(self, tally: Tally, protocol: ProtocolState, *, is_known: bool) -> Decision | Undecided:
        if not is_known:
            return Undecided.ELECTORATE_NOT_KNOWN
        return dispute_verdict(
            tally.counts,
            tally.stake,
            tally.electorate_stake,
            protocol.config.dispute_success_threshold,
            self._voting.dispute_quorum_bps,
        )

    def _settles_at(self, tally: Tally, verdict: Decision, protocol: ProtocolState) -> datetime:
        """When the verdict is carried out: as announced, or from now on the time for a veto."""
        if tally.settles_at is not None and tally.verdict is verdict:
            return tally.settles_at
        return protocol.time + timedelta(seconds=self._voting.veto_seconds)

    def _settlement(
        self, market: ChainMarket, tally: Tally, detail: str, protocol: ProtocolState
    ) -> PlannedTransaction:
        finalize = self._program.finalize_market(
            backend_authority=self._authority.address,
            market=market.address,
            dispute_agree=tally.counts.yes,
            dispute_disagree=tally.counts.no,
        )

        async def as_it_was(connection: Connection) -> None:
            await require_decision(connection, market.id, MarketState.DISPUTED, None)
            await electorates.require_known(connection, market.id)

        rule = self._rule(protocol, "votes")
        return PlannedTransaction("finalize_market", (finalize,), detail, rule, as_it_was)

    def _rule(self, protocol: ProtocolState, decided_by: Literal["votes", "admin"]) -> CountingRule:
        return CountingRule(
            threshold_bps=protocol.config.dispute_success_threshold,
            quorum_bps=self._voting.dispute_quorum_bps,
            decided_by=decided_by,
        )


def _is_over(market: ChainMarket, protocol: ProtocolState) -> bool:
    """Whether the time for votes has passed."""
    began_at = market.account.dispute_initiated_at
    return protocol.now >= lifecycle.dispute_vote_ends_at(began_at, protocol.config.dispute_period)


def _settlement_in_words(market: ChainMarket, tally: Tally, verdict: Decision) -> str:
    proposed = market.account.proposed_outcome
    outcome, verb = proposed, "stays"
    if verdict is Decision.OVERTURN:
        outcome, verb = lifecycle.flipped(proposed), "flips to"
    return f"{votes_in_words(tally, proposed)}: the outcome {verb} {OUTCOMES[outcome]}"


def votes_in_words(tally: Tally, proposed: bool | None) -> str:
    """Both tallies of a dispute of the `proposed` outcome, whose votes are counted, as a phrase."""
    wallets, stake = tally.counts, tally.stake
    turnout = _percent(stake.total, tally.electorate_stake)
    return (
        f"{wallets.yes} of {wallets.total} wallets and {_percent(stake.yes, stake.total)} of the stake that "
        f"voted agree with the dispute: {OUTCOMES[proposed]} is wrong; {turnout} of all stake voted"
    )


def _percent(part: int, whole: int) -> str:
    bps = share_bps(part, whole)
    return f"{bps // 100}.{bps % 100:02d} %"

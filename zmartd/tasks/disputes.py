"""Disputes whose voting has ended: counted by wallet and by stake, and settled or left to an admin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from zmartd.store import decisions, due_markets, electorates, tallies
from zmartd.store.decisions import MarketDecision
from zmartd.store.due_markets import DueMarket
from zmartd.store.markets import MarketRow
from zmartd.store.postgres.reader import Reads
from zmartd.store.tallies import Tally
from zmartd.tasks.admin_decisions import how_to_decide
from zmartd.tasks.announcements import Announcements
from zmartd.tasks.authority import Authority, MarketAccountMissing, ProtocolState
from zmartd.tasks.base import TaskAction
from zmartd.tasks.catching_up import has_same_resolution
from zmartd.tasks.context import TaskContext
from zmartd.tasks.decision_execution import decision_instruction, require_decision
from zmartd.tasks.meant import Meant
from zmartd.tasks.node_requests import NodeRequests
from zmartd.tasks.plan import Plan, plan_each
from zmartd.tasks.vote_counting import DUE_AT_ONCE, Decide, PlannedTransaction, VoteCounting
from zmartd.tasks.voter_verification import VoterVerification

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


class Known(Struct, frozen=True):
    """What an admin decided about disputes, and of which of them the electorate is not known."""

    decided: Mapping[str, MarketDecision]
    not_known: frozenset[str]


class Disputes:
    """Finalizes disputed markets.

    The program sets no end for the voting on a dispute; only this class decides it. The votes settle a
    dispute where all of them are known, both tallies agree and enough stake has voted, `veto_seconds` after
    that was announced. In all other cases the market stays DISPUTED until an admin decides. A decision is
    carried out at once.
    """

    def __init__(
        self,
        context: TaskContext,
        authority: Authority,
        announcements: Announcements,
        protocol: ProtocolState,
        requests: NodeRequests,
    ) -> None:
        """For one run, which decides by `protocol` and has so many `requests` for accounts of voters."""
        self._context = context
        self._voting = context.voting
        self._database = context.database
        self._program = context.program
        self._authority = authority
        self._announcements = announcements
        self._protocol = protocol
        self._counting = VoteCounting(VoteKind.DISPUTE, context, authority, requests)
        self._verification = VoterVerification(
            context.database, context.rpc, context.program, protocol.config.dispute_period, requests
        )

    async def run(self) -> list[TaskAction]:
        return (await self._counting.run(self, self._protocol)).listed()

    async def plan(self) -> Plan:
        """What `run` would send, by the votes as they are."""
        protocol = self._protocol
        async with self._database.service_reader() as connection:
            due = await self.due(connection, None, DUE_AT_ONCE)
            closed = await tallies.not_counted(connection, VoteKind.DISPUTE, DUE_AT_ONCE)
            counted = await tallies.counted(connection, VoteKind.DISPUTE, protocol.time, limit=DUE_AT_ONCE)
            market_ids = [*closed, *(one.market_id for one in counted), *(one.id for one in due)]
            known = await _known(connection, market_ids)
        found = await self._authority.markets(market_ids)

        async def decide(market_id: str) -> Meant | None:
            market = found.get(market_id)
            if market is None:
                raise MarketAccountMissing
            is_open = market.account.state is MarketState.DISPUTED
            if not is_open or not await has_same_resolution(self._context, market):
                return None
            if decision := known.decided.get(market_id):
                return self._as_decided(market, decision, protocol).for_market(market)
            if not _is_over(market, protocol):
                return None
            tally = await self._would_count(market_id)
            verdict = self._verdict(tally, protocol, is_known=market_id not in known.not_known)
            if isinstance(verdict, Undecided) or protocol.time < self._settles_at(tally, verdict, protocol):
                return None
            detail = _settlement_in_words(market, tally, verdict)
            return self._settlement(market, tally, detail, protocol).for_market(market)

        return await plan_each(market_ids, decide)

    async def due(self, connection: Reads, after: DueMarket | None, limit: int) -> list[DueMarket]:
        """See `Rules`; so are the next three."""
        opened_until = self._protocol.before(self._protocol.config.dispute_period)
        return await due_markets.disputes_to_close(
            connection, opened_until, self._protocol.time, after=after, limit=limit
        )

    async def are_voters_known(self, market_id: str) -> bool:
        async with self._database.service_reader() as connection:
            if await _is_decided(connection, market_id):
                return True
        return await self._verification.are_known(market_id)

    async def count(self, connection: Connection, market_id: str) -> Tally | None:
        also_unverified = await _is_decided(connection, market_id)
        return await tallies.count_dispute(connection, market_id, also_unverified=also_unverified)

    async def decider(self, connection: Reads, market_ids: Sequence[str]) -> Decide:
        known = await _known(connection, market_ids)

        async def decide(
            market: ChainMarket, tally: Tally, row: MarketRow
        ) -> PlannedTransaction | TaskAction | None:
            if decision := known.decided.get(market.id):
                return self._as_decided(market, decision, self._protocol)
            is_known = market.id not in known.not_known
            return await self._as_voted(market, tally, row, self._protocol, is_known=is_known)

        return decide

    async def _would_count(self, market_id: str) -> Tally:
        async with self._database.service_reader() as connection:
            tally = await tallies.find(connection, VoteKind.DISPUTE, market_id)
        if tally is not None and tally.counted_at is not None:
            return tally
        await self._verification.preview(market_id)
        async with self._database.service_reader() as connection:
            return await tallies.preview_dispute(connection, market_id)

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
        self,
        market: ChainMarket,
        tally: Tally,
        row: MarketRow,
        protocol: ProtocolState,
        *,
        is_known: bool,
    ) -> PlannedTransaction | TaskAction | None:
        if not _is_over(market, protocol):
            return None
        verdict = self._verdict(tally, protocol, is_known=is_known)
        if isinstance(verdict, Undecided):
            reason = f"{_REASONS[verdict]} ({votes_in_words(tally, market.account.proposed_outcome)})"
            if tally.verdict is not None or not row.awaiting_decision:
                await self._announcements.announce_awaited_decision(market.id, MarketState.DISPUTED, reason)
            detail = f"{reason}: `{how_to_decide(market.id)}` settles it"
            return TaskAction(market.id, AWAIT_DECISION, ok=False, detail=detail, awaits_admin=True)
        detail = _settlement_in_words(market, tally, verdict)
        settles_at = self._settles_at(tally, verdict, protocol)
        is_first = False
        if tally.verdict is not verdict or row.settles_at != settles_at:
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


async def _known(connection: Reads, market_ids: Sequence[str]) -> Known:
    decided = await decisions.of_markets(connection, market_ids, MarketState.DISPUTED)
    return Known(decided, frozenset(await electorates.not_known(connection, market_ids)))


async def _is_decided(connection: Reads, market_id: str) -> bool:
    return bool(await decisions.of_markets(connection, [market_id], MarketState.DISPUTED))


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

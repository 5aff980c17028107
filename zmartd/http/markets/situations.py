"""Where markets are in their lives: from the index, or from the chain where it has to be exact."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from aiohttp import web
from msgspec.structs import replace

from zmartd.chain.accounts import GlobalConfig, MarketAccount
from zmartd.http.kit import keys
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.market.needed_votes import open_votes
from zmartd.market.situation import BackendRules, ProgramRules, Rules, Situation
from zmartd.market.votes import NO_VOTES, VotesSoFar
from zmartd.store import positions, votes
from zmartd.store.markets import MarketRow
from zmartd.store.metadata import Registration
from zmartd.store.postgres.sources import Source


def rules_for(app: web.Application, program: ProgramRules) -> Rules:
    """The rules of the program's configuration and the daemon's settings."""
    voting, monitor = app[keys.VOTING], app[keys.MARKET_MONITOR]
    backend = BackendRules(
        min_proposal_votes=voting.min_proposal_votes,
        proposal_min_balance_lamports=voting.proposal_min_balance_lamports,
        dispute_quorum_bps=voting.dispute_quorum_bps,
        finalization_delay_seconds=monitor.finalization_delay_seconds,
        safety_margin_seconds=monitor.safety_margin_seconds,
        veto_seconds=voting.veto_seconds,
        trusted_resolvers=voting.trusted_resolvers,
    )
    return Rules(program, backend)


async def indexed_situations(
    app: web.Application, markets: Sequence[MarketRow], source: Source | None = None
) -> dict[str, Situation]:
    """The situations of these markets, by id, as the index has them. One query for each kind of vote that is
    open in some of them, and one where some are finalized. `source`: where the markets were read, if that was
    not the primary.
    """
    ids: defaultdict[VoteKind, list[str]] = defaultdict(list)
    for market in markets:
        kind = open_votes(market.state)
        if kind is not None:
            ids[kind].append(market.id)
    finalized = [market.id for market in markets if market.state is MarketState.FINALIZED]
    voted_on: dict[str, VotesSoFar] = {}
    claimable: set[str] = set()
    if ids or finalized:
        async with (source or app[keys.DATABASE]).service_reader() as connection:
            for kind, market_ids in ids.items():
                voted_on |= await votes.so_far(connection, kind, market_ids)
            if finalized:
                claimable = await positions.claimable(connection, finalized)
    now = await app[keys.CHAIN_TIME]()
    return {
        market.id: situation_of(market, voted_on.get(market.id, NO_VOTES), market.id in claimable, now)
        for market in markets
    }


async def indexed_situation(app: web.Application, market: MarketRow) -> Situation:
    """The situation of one market."""
    return (await indexed_situations(app, [market]))[market.id]


def situation_of(market: MarketRow, votes: VotesSoFar, has_claims: bool, now: int) -> Situation:
    """The situation of a market as the index has it, at the time `now`."""
    return Situation(
        state=market.state,
        creator=market.creator_wallet,
        resolver=market.resolver_wallet,
        end=_seconds(market.end_date),
        activated_at=_seconds(market.activated_at),
        resolution_proposed_at=_seconds(market.resolution_proposed_at),
        dispute_initiated_at=_seconds(market.dispute_initiated_at),
        awaiting_admin_approval=market.awaiting_admin_approval,
        awaiting_decision=market.awaiting_decision,
        settles_at=_seconds(market.settles_at),
        decision=market.decision,
        votes=votes,
        is_refunded=market.state is MarketState.FINALIZED and market.final_outcome is None,
        has_claims=has_claims,
        is_withdrawn=market.is_withdrawn,
        now=now,
    )


def pending_situation(registration: Registration, now: int) -> Situation:
    """The situation of a market that is registered and not on the chain yet."""
    return Situation(
        state=MarketState.PROPOSED,
        is_on_chain=False,
        creator=registration.metadata.creator_wallet,
        end=_seconds(registration.metadata.end_date),
        now=now,
    )


def live_situation(indexed: Situation, account: MarketAccount, now: int) -> Situation:
    """The situation by the market's account at the time `now`; the rest is as it is indexed.

    What is indexed of a dispute is left out where the index is behind.
    """
    live = replace(
        indexed,
        state=account.state,
        resolver=str(account.resolver),
        activated_at=account.activated_at or None,
        resolution_proposed_at=account.resolution_proposed_at or None,
        dispute_initiated_at=account.dispute_initiated_at or None,
        is_refunded=account.state is MarketState.FINALIZED and account.final_outcome is None,
        now=now,
    )
    if account.state is indexed.state:
        return live
    return replace(
        live,
        awaiting_admin_approval=False,
        awaiting_decision=False,
        settles_at=None,
        decision=None,
        votes=NO_VOTES,
        has_claims=True,
    )


def program_rules(config: GlobalConfig) -> ProgramRules:
    """The rules in the program's configuration."""
    return ProgramRules(
        proposal_threshold_bps=config.proposal_approval_threshold,
        dispute_threshold_bps=config.dispute_success_threshold,
        dispute_period_seconds=config.dispute_period,
        is_paused=config.is_paused,
    )


def _seconds(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp())

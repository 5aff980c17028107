"""Where markets are in their lives: from the index, or from the chain where it has to be exact."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from aiohttp import web
from msgspec.structs import replace

from zmartd.chain.accounts import GlobalConfig, MarketAccount
from zmartd.http.kit import keys
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.market.next_steps import BackendRules, ProgramRules, Rules, Situation, open_votes
from zmartd.market.votes import VoteCounts
from zmartd.store import votes
from zmartd.store.markets import MarketRow
from zmartd.store.metadata import Registration
from zmartd.store.postgres.reader import Reads


def rules_for(app: web.Application, program: ProgramRules) -> Rules:
    """The rules of the program's configuration and the daemon's settings."""
    voting, monitor = app[keys.VOTING], app[keys.MARKET_MONITOR]
    backend = BackendRules(
        min_proposal_votes=voting.min_proposal_votes,
        dispute_quorum_bps=voting.dispute_quorum_bps,
        finalization_delay_seconds=monitor.finalization_delay_seconds,
        safety_margin_seconds=monitor.safety_margin_seconds,
        veto_seconds=voting.veto_seconds,
        trusted_resolvers=voting.trusted_resolvers,
    )
    return Rules(program, backend)


async def votes_so_far(connection: Reads, markets: Sequence[MarketRow]) -> dict[str, VoteCounts]:
    """The votes that are open on these markets, by id: one query for each kind. Takes a service reader."""
    ids: defaultdict[VoteKind, list[str]] = defaultdict(list)
    for market in markets:
        kind = open_votes(market.state)
        if kind is not None:
            ids[kind].append(market.id)
    counts: dict[str, VoteCounts] = {}
    for kind, market_ids in ids.items():
        counts |= await votes.counts(connection, kind, market_ids)
    return counts


def has_open_votes(markets: Sequence[MarketRow]) -> bool:
    """Whether `votes_so_far` would read anything."""
    return any(open_votes(market.state) is not None for market in markets)


def indexed_situation(market: MarketRow, counts: Mapping[str, VoteCounts]) -> Situation:
    """A market's situation as the index has it; `counts` has the votes of markets that are voted on."""
    return Situation(
        state=market.state,
        creator=market.creator_wallet,
        resolver=market.resolver_wallet,
        end=_seconds(market.end_date),
        activated_at=_seconds(market.activated_at),
        resolution_proposed_at=_seconds(market.resolution_proposed_at),
        dispute_initiated_at=_seconds(market.dispute_initiated_at),
        awaiting_decision=market.awaiting_decision,
        settles_at=_seconds(market.settles_at),
        decision=market.decision,
        votes=counts.get(market.id),
        now=int(market.as_of.timestamp()),
    )


def pending_situation(registration: Registration) -> Situation:
    """The situation of a market that is registered and not on the chain yet."""
    return Situation(
        state=MarketState.PROPOSED,
        is_on_chain=False,
        creator=registration.metadata.creator_wallet,
        now=int(registration.created_at.timestamp()),
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
        now=now,
    )
    if account.state is indexed.state:
        return live
    return replace(live, awaiting_decision=False, settles_at=None, decision=None, votes=None)


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

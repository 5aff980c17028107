from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from solders.keypair import Keypair
from structlog.testing import capture_logs

from tests.integration.tasks.failing_markets import problems, ruin, save
from tests.integration.tasks.world import (
    AUTHORITY,
    DISPUTE_PERIOD_SECONDS,
    EXPIRY_SLOTS,
    HOLDERS,
    MIN_BALANCE_LAMPORTS,
    World,
    keypair,
    killed_once,
)
from zmartd.market.decisions import Decision
from zmartd.market.iso_time import iso_time
from zmartd.market.lifecycle import MarketState, VoteKind
from zmartd.market.votes import CountingRule
from zmartd.store import counted_votes
from zmartd.store.decisions import AlreadyDecided
from zmartd.store.votes import AlreadyVoted, NotAHolder, VotingClosed
from zmartd.tasks.admin_decisions import AdminDecisions, NothingToDecide, PendingDecisionChanged
from zmartd.tasks.announcements import Announcements
from zmartd.tasks.base import TaskAction
from zmartd.tasks.ledger import TaskLedger
from zmartd.tasks.scheduler import Scheduler
from zmartd.tasks.turns import Turns
from zmartd.tasks.vote_aggregator import VoteAggregator

DISPUTED, FINALIZED = MarketState.DISPUTED, MarketState.FINALIZED
SOL = 10**9
DAY_SECONDS = 86_400


async def ended_dispute(world: World, *stakes_and_votes: tuple[int, bool | None]) -> str:
    """HOLDERS paid so many lamports for NO, and voted so; None: did not vote."""
    market_id = await world.disputed(*(stake for stake, _ in stakes_and_votes))
    for holder, (_, vote) in zip(HOLDERS, stakes_and_votes, strict=False):
        if vote is not None:
            await world.vote(VoteKind.DISPUTE, market_id, holder, vote)
    await world.travel(DISPUTE_PERIOD_SECONDS)
    return market_id


async def run(world: World, **settings: Any) -> list[TaskAction]:
    return await VoteAggregator(world.own.context(**settings)).run()


async def waits_for(world: World, market_id: str) -> tuple[bool, bool]:
    """Whether the market's row says that it awaits a decision, and that it settles at a time."""
    (row,) = await world.fetch(
        "select awaiting_decision, settles_at is not null from markets where id = $1", market_id
    )
    return row[0], row[1]


def admin_decisions(world: World) -> AdminDecisions:
    return AdminDecisions(
        world.database, world.own.rpc, world.program, Announcements(world.database, world.publisher), ()
    )


@pytest.mark.parametrize(
    ("votes", "outcome", "counts"),
    [
        ([(SOL, True), (SOL, True), (SOL, True), (SOL, False)], False, (3, 1)),
        ([(SOL, True), (SOL, False)], True, (1, 1)),
        ([(SOL, False), (SOL, False), (SOL, None)], True, (0, 2)),
    ],
)
async def test_a_dispute_is_settled_where_wallets_and_stake_say_the_same(
    world: World, votes: list[tuple[int, bool | None]], outcome: bool, counts: tuple[int, int]
) -> None:
    market_id = await ended_dispute(world, *votes)

    (action,) = await run(world)

    assert (action.action, action.ok) == ("finalize_market", True)
    account = await world.account(market_id)
    assert (account.final_outcome, account.was_disputed) == (outcome, True)
    assert (account.dispute_agree, account.dispute_disagree) == counts
    assert await world.states(market_id) == (FINALIZED, FINALIZED)
    assert await world.closed_votes(market_id) == []
    assert await waits_for(world, market_id) == (False, False)
    async with world.database.service_reader() as connection:
        told = await counted_votes.find(connection, VoteKind.DISPUTE, market_id, is_over=True)
        assert await counted_votes.find(connection, VoteKind.DISPUTE, market_id, is_over=False) is None
    assert told is not None
    assert (told.counts.yes, told.counts.no) == counts
    assert told.electorate_wallets == len(votes)
    assert told.rule == CountingRule(threshold_bps=6_000, quorum_bps=1_000)
    assert told.signature == action.signature is not None
    assert 0 < told.stake.total <= told.electorate_stake


async def test_fresh_wallets_overturn_nothing_and_are_refused_at_the_door(world: World) -> None:
    market_id = await world.disputed(20 * SOL, 20 * SOL, 20 * SOL)
    for holder in HOLDERS[:3]:
        await world.vote(VoteKind.DISPUTE, market_id, holder, False)

    for number in range(6):
        with pytest.raises(NotAHolder):
            await world.vote(VoteKind.DISPUTE, market_id, keypair(f"fresh {number}"), True)
    for number in range(6):
        stranger = keypair(f"rich stranger {number}")
        await world.cheat("surfnet_setAccount", str(stranger.pubkey()), {"lamports": SOL})
        await world.vote_on_chain(market_id, stranger, True)
    await world.travel(DISPUTE_PERIOD_SECONDS)
    (action,) = await run(world)

    assert action.detail.startswith(
        "0 of 3 wallets and 0.00 % of the stake that voted agree with the dispute: YES is wrong; "
        "100.00 % of all"
    )
    account = await world.account(market_id)
    assert (account.final_outcome, account.dispute_agree, account.dispute_disagree) == (True, 0, 3)


async def test_a_stake_that_is_split_over_a_hundred_wallets_decides_nothing_alone(world: World) -> None:
    market_id = await world.active()
    split = [keypair(f"split {number}") for number in range(100)]
    await world.buy(market_id, HOLDERS[0], 20 * SOL)
    for wallet in split:
        await world.cheat("surfnet_setAccount", str(wallet.pubkey()), {"lamports": SOL})
        await world.buy(market_id, wallet, 10**8)
    await world.resolve(market_id)
    await world.travel(60)
    await world.dispute(market_id)
    await world.vote(VoteKind.DISPUTE, market_id, HOLDERS[0], False)
    for wallet in split:
        await world.vote(VoteKind.DISPUTE, market_id, wallet, True)
    await world.travel(DISPUTE_PERIOD_SECONDS)

    (action,) = await run(world)

    assert (action.action, action.ok) == ("await_decision", False)
    assert action.detail.startswith("wallets and stake say different things (100 of 101 wallets and 33.")
    assert await world.states(market_id) == (DISPUTED, DISPUTED)


async def test_a_whale_alone_decides_nothing(world: World) -> None:
    market_id = await ended_dispute(world, (100 * SOL, True), (SOL, False), (SOL, False), (SOL, False))
    for _ in range(2):
        (action,) = await run(world)
        assert (action.action, action.ok) == ("await_decision", False)
        assert "1 of 4 wallets and 97." in action.detail
    assert await world.states(market_id) == (DISPUTED, DISPUTED)
    assert await waits_for(world, market_id) == (True, False)
    assert await world.outbox(market_id) == []
    with pytest.raises(VotingClosed):
        await world.vote(VoteKind.DISPUTE, market_id, HOLDERS[4], True)


async def test_too_little_stake_decides_nothing(world: World) -> None:
    market_id = await ended_dispute(world, (100 * SOL, None), (SOL, True), (SOL, True))
    (action,) = await run(world)
    assert action.detail.startswith("too little of the stake has voted")
    assert await world.states(market_id) == (DISPUTED, DISPUTED)


async def test_who_sold_before_the_outcome_was_proposed_has_no_vote(world: World) -> None:
    market_id = await world.active()
    for holder in HOLDERS[:3]:
        await world.buy(market_id, holder, SOL)
    await world.sell(market_id, HOLDERS[0], await world.shares(market_id, HOLDERS[0]))
    half = await world.shares(market_id, HOLDERS[1]) // 2
    await world.sell(market_id, HOLDERS[1], half)
    await world.resolve(market_id)
    await world.travel(60)
    await world.dispute(market_id)

    with pytest.raises(NotAHolder):
        await world.vote(VoteKind.DISPUTE, market_id, HOLDERS[0], True)
    await world.vote_on_chain(market_id, HOLDERS[0], True)
    await world.vote(VoteKind.DISPUTE, market_id, HOLDERS[1], True)
    await world.vote(VoteKind.DISPUTE, market_id, HOLDERS[2], False)
    await world.travel(DISPUTE_PERIOD_SECONDS)
    (action,) = await run(world)

    assert action.action == "finalize_market"
    assert action.detail.startswith("1 of 2 wallets and 33.")
    ((stake_of_half, stake_of_all),) = await world.fetch(
        """
        select min(stake), max(stake) from dispute_electorate where market_id = $1
        """,
        market_id,
    )
    assert 0 < stake_of_half < stake_of_all <= SOL
    assert abs(2 * stake_of_half - stake_of_all) <= 2 * 10**7


async def test_votes_by_api_and_on_the_chain_are_one_electorate_and_the_first_counts(world: World) -> None:
    market_id = await world.disputed(SOL, SOL, SOL)
    await world.vote_on_chain(market_id, HOLDERS[0], False)
    with pytest.raises(AlreadyVoted):
        await world.vote(VoteKind.DISPUTE, market_id, HOLDERS[0], True)
    await world.vote(VoteKind.DISPUTE, market_id, HOLDERS[1], False)
    await world.vote_on_chain(market_id, HOLDERS[1], True)
    await world.vote_on_chain(market_id, HOLDERS[2], True)
    await world.travel(DISPUTE_PERIOD_SECONDS)
    (action,) = await run(world)
    assert action.detail.startswith("1 of 3 wallets")
    assert (await world.account(market_id)).final_outcome is True


@pytest.mark.parametrize(
    ("forged", "liar", "voters"),
    [
        ("a position", HOLDERS[4], [*HOLDERS[:2], HOLDERS[4]]),
        ("a stake", HOLDERS[0], HOLDERS[:2]),
        ("a vote", HOLDERS[2], HOLDERS[:2]),
    ],
)
async def test_what_is_not_on_the_chain_decides_nothing(
    world: World, forged: str, liar: Keypair, voters: list[Keypair]
) -> None:
    """With the webhook's credential, forged events can be indexed for a while."""
    market_id = await world.disputed(SOL, SOL, SOL)
    lie = await world.forge(market_id, liar, forged)
    for voter in voters:
        await world.vote(VoteKind.DISPUTE, market_id, voter, True)
    await world.travel(DISPUTE_PERIOD_SECONDS)

    for _ in range(2):
        (refused,) = await run(world)
        assert (refused.action, refused.ok) == ("count", False)
        assert "the index differs from the chain" in refused.detail
    assert await world.states(market_id) == (DISPUTED, DISPUTED)
    await world.own.fetcher.indexer.roll_back([lie])
    (settled,) = await run(world)
    assert settled.detail.startswith("2 of 2 wallets")


async def test_votes_are_counted_a_dispute_period_after_the_dispute_not_after_the_resolution(
    world: World,
) -> None:
    market_id = await world.disputed(SOL, SOL)  # a minute after its resolution
    await world.vote_on_dispute(market_id, True)
    await world.travel(DISPUTE_PERIOD_SECONDS - 30)
    assert await run(world) == []
    await world.vote(VoteKind.DISPUTE, market_id, HOLDERS[1], True)

    await world.travel(30)

    (action,) = await run(world)
    assert action.detail.startswith("2 of 2 wallets")


async def test_a_settlement_is_announced_and_waits_for_a_veto(world: World) -> None:
    market_id = await ended_dispute(world, (SOL, True), (SOL, True))

    (announced,) = await run(world, veto_seconds=DAY_SECONDS)
    (waiting,) = await run(world, veto_seconds=DAY_SECONDS)

    assert (announced.action, announced.ok) == ("announce_settlement", False)
    assert (waiting.action, waiting.ok) == ("announce_settlement", True)
    assert "the outcome flips to NO at " in waiting.detail
    assert await waits_for(world, market_id) == (False, True)
    assert await world.states(market_id) == (DISPUTED, DISPUTED)
    await world.travel(DAY_SECONDS)
    (settled,) = await run(world, veto_seconds=DAY_SECONDS)
    assert settled.action == "finalize_market"
    assert (await world.account(market_id)).final_outcome is False


async def test_what_was_not_announced_is_not_done(world: World) -> None:
    """The program's threshold changes within the veto window, and with it what the votes say."""
    market_id = await ended_dispute(world, (SOL, True), (SOL, True), (SOL, True), (SOL, False))
    await run(world, veto_seconds=DAY_SECONDS)
    await world.travel(DAY_SECONDS)
    await world.require_agreement_of(9_000)

    (announced,) = await run(world, veto_seconds=DAY_SECONDS)

    assert (announced.action, announced.ok) == ("announce_settlement", False)
    assert "the outcome stays YES at " in announced.detail
    assert await world.states(market_id) == (DISPUTED, DISPUTED)
    await world.travel(DAY_SECONDS)
    (settled,) = await run(world, veto_seconds=DAY_SECONDS)
    assert settled.action == "finalize_market"
    assert (await world.account(market_id)).final_outcome is True


@pytest.mark.parametrize(
    ("decision", "outcome", "counts"),
    [(Decision.KEEP, True, (0, 1)), (Decision.OVERTURN, False, (1, 0)), (Decision.REFUND, None, (0, 0))],
)
async def test_an_admins_decision_within_the_veto_is_what_counts(
    world: World, decision: Decision, outcome: bool | None, counts: tuple[int, int]
) -> None:
    market_id = await ended_dispute(world, (SOL, True), (SOL, True))
    await run(world, veto_seconds=DAY_SECONDS)

    await admin_decisions(world).decide(market_id, decision, "what really happened is on record", None)
    assert await waits_for(world, market_id) == (False, False)
    (action,) = await run(world, veto_seconds=DAY_SECONDS)

    assert action.ok
    assert action.detail == f"decided to {decision.value}: what really happened is on record"
    account = await world.account(market_id)
    assert (account.final_outcome, account.was_disputed) == (outcome, True)
    assert (account.dispute_agree, account.dispute_disagree) == counts
    assert await world.states(market_id) == (FINALIZED, FINALIZED)


async def test_a_dispute_without_votes_awaits_a_decision(world: World) -> None:
    market_id = await ended_dispute(world, (SOL, None))
    (action,) = await run(world)
    assert (action.action, action.ok) == ("await_decision", False)
    assert action.detail.startswith("nobody who may vote has voted")
    assert await waits_for(world, market_id) == (True, False)

    made = await admin_decisions(world).decide(market_id, Decision.KEEP, "the evidence is plain", None)
    with pytest.raises(AlreadyDecided):
        await admin_decisions(world).decide(market_id, Decision.REFUND, "second thoughts come late", None)
    (action,) = await run(world)

    assert made.decision is Decision.KEEP
    assert (await world.account(market_id)).final_outcome is True
    async with world.database.service_reader() as connection:
        told = await counted_votes.find(connection, VoteKind.DISPUTE, market_id, is_over=True)
    assert told is not None
    assert told.rule is not None
    assert (told.counts.total, told.rule.decided_by, told.signature) == (0, "admin", action.signature)


async def test_that_a_decision_is_awaited_is_one_warning_and_never_an_error(world: World) -> None:
    market_id = await ended_dispute(world, (SOL, None))
    context = world.own.context()
    ledger = TaskLedger(context.database, "daemon", context.clock)
    turns = Turns(context.redis, "daemon", context.clock)
    scheduler = Scheduler([VoteAggregator(context)], ledger, turns, context.clock)
    with capture_logs() as lines:
        reports = [await scheduler.run_once(VoteAggregator.name) for _ in range(2)]
    assert [report.ok for report in reports] == [False, False]
    about = [(line["event"], line["log_level"]) for line in lines if line.get("market_id") == market_id]
    assert about == [
        ("market.awaits_decision", "warning"),
        ("task.await_decision", "info"),
        ("task.await_decision", "info"),
    ]


async def test_a_decision_about_something_else_than_what_was_shown_is_refused(world: World) -> None:
    market_id = await ended_dispute(world, (SOL, None))
    (action,) = await run(world)
    assert f"`zmartd decide {market_id} --keep|--overturn|--refund --because TEXT`" in action.detail
    shown = await admin_decisions(world).pending(market_id, Decision.KEEP)
    stale = msgspec.structs.replace(shown, proposed_outcome=not shown.proposed_outcome)
    with pytest.raises(PendingDecisionChanged):
        await admin_decisions(world).decide(
            market_id, Decision.KEEP, "the evidence is plain", None, shown=stale
        )
    await admin_decisions(world).decide(market_id, Decision.KEEP, "the evidence is plain", None, shown=shown)
    with pytest.raises(AlreadyDecided):
        await admin_decisions(world).pending(market_id, Decision.KEEP)


async def test_while_the_holders_vote_there_is_nothing_to_decide(world: World) -> None:
    market_id = await world.disputed(SOL)
    with pytest.raises(NothingToDecide, match="The holders are voting"):
        await admin_decisions(world).decide(market_id, Decision.KEEP, "let us be quick about it", None)


async def test_two_daemons_settle_a_dispute_once(world: World) -> None:
    market_id = await ended_dispute(world, (SOL, True))
    async with world.daemon() as other:
        runs = await asyncio.gather(run(world), VoteAggregator(other.context()).run())
    assert all(action.ok or action.action == "announce_settlement" for one in runs for action in one)
    assert await world.outbox(market_id) == [("finalize_market", "landed")]
    assert await world.states(market_id) == (FINALIZED, FINALIZED)


async def test_a_daemon_that_dies_in_the_veto_window_leaves_it_as_it_was_announced(world: World) -> None:
    market_id = await ended_dispute(world, (SOL, True))
    async with world.daemon() as doomed:
        await VoteAggregator(doomed.context(veto_seconds=DAY_SECONDS)).run()
    ((settles_at,),) = await world.fetch(
        "select settles_at from vote_tallies where market_id = $1", market_id
    )

    (waiting,) = await run(world, veto_seconds=10 * DAY_SECONDS)
    assert iso_time(settles_at) in waiting.detail
    await world.travel(DAY_SECONDS)
    (settled,) = await run(world, veto_seconds=10 * DAY_SECONDS)
    assert settled.action == "finalize_market"


async def test_a_decision_is_not_overtaken_by_a_settlement_that_was_about_to_be_sent(world: World) -> None:
    market_id = await ended_dispute(world, (SOL, True))
    await world.misbehave(failRate=1, methods=["getLatestBlockhash"])
    async with world.daemon() as slow:
        settling = asyncio.create_task(VoteAggregator(slow.context()).run())
        await world.until(
            lambda: world.fetch(
                "select 1 from vote_tallies where market_id = $1 and settles_at is not null", market_id
            )
        )
        await admin_decisions(world).decide(market_id, Decision.KEEP, "the votes were bought", None)
        await world.misbehave()
        (refused,) = await settling
    assert not refused.ok
    assert await world.outbox(market_id) == []

    (action,) = await run(world)

    assert action.detail == "decided to keep: the votes were bought"
    assert (await world.account(market_id)).final_outcome is True


async def test_an_expired_settlement_is_sent_again_with_the_same_count(world: World) -> None:
    market_id = await ended_dispute(world, (SOL, True), (SOL, None))
    await world.misbehave(loseNext=1_000)
    settling = asyncio.create_task(VoteAggregator(world.own.context()).run())
    await world.until(lambda: world.outbox(market_id))
    await world.cheat("zmartd_advanceSlots", {"slots": EXPIRY_SLOTS})
    (expired,) = await settling
    await world.misbehave()

    assert (expired.ok, expired.action) == (False, "finalize_market")
    with pytest.raises(VotingClosed):
        await world.vote(VoteKind.DISPUTE, market_id, HOLDERS[1], False)
    (settled,) = await run(world)
    assert settled.detail.startswith("1 of 1 wallets")
    assert await world.outbox(market_id) == [("finalize_market", "expired"), ("finalize_market", "landed")]


async def test_a_settlement_that_fails_waits_longer_each_time_and_a_decision_does_not(world: World) -> None:
    market_id = await ended_dispute(world, (SOL, True), (SOL, True))
    await ruin(world, market_id)

    (failed,) = await run(world)
    assert failed.detail.startswith("BoundedLossExceeded: ")
    assert await run(world) == []
    assert await problems(world) == [(market_id, "BoundedLossExceeded", 1)]
    await world.travel(301)
    await run(world)
    assert await run(world) == []
    assert await problems(world) == [(market_id, "BoundedLossExceeded", 2)]

    await save(world, market_id)
    assert await run(world) == []
    await admin_decisions(world).decide(market_id, Decision.REFUND, "it was ruined for a while", None)
    assert await problems(world) == []
    (carried_out,) = await run(world)
    assert (carried_out.action, carried_out.ok) == ("refund_market", True)


async def test_a_dispute_that_was_settled_before_the_run_was_killed_is_only_indexed(world: World) -> None:
    market_id = await ended_dispute(world, (SOL, True))
    await world.misbehave(failRate=1, methods=["getTransaction"])
    await killed_once(world, VoteAggregator, lambda: world.has_landed(market_id))
    await world.misbehave()

    (action,) = await run(world)

    assert (action.action, action.ok) == ("catch_up", True)
    assert await world.outbox(market_id) == [("finalize_market", "landed")]
    assert await world.closed_votes(market_id) == []


async def test_a_silent_dispute_that_an_operator_settled_is_only_indexed(world: World) -> None:
    market_id = await ended_dispute(world)
    finalize = world.program.aggregate_dispute_votes(
        backend_authority=AUTHORITY.pubkey(),
        market=world.address(market_id),
        final_agrees=0,
        final_disagrees=0,
    )
    await world.act(AUTHORITY, finalize, indexed=False)
    (action,) = await run(world)
    assert (action.action, action.ok) == ("catch_up", True)
    assert await world.states(market_id) == (FINALIZED, FINALIZED)


async def test_ten_wallets_that_cost_nothing_approve_no_proposal(world: World) -> None:
    market_id = await world.proposal()
    await world.vote_on_proposal(market_id, yes=10, lamports=0)
    await world.vote_on_proposal(market_id, yes=2, lamports=MIN_BALANCE_LAMPORTS)
    assert await run(world) == []
    assert (await world.states(market_id))[0] is MarketState.PROPOSED

    traders = await world.active()
    await world.buy(traders, HOLDERS[0])
    await world.vote(VoteKind.PROPOSAL, market_id, HOLDERS[0], True)

    (action,) = await run(world)
    assert (action.action, action.detail) == ("approve_proposal", "3 of 3 votes like it")


async def test_dislikes_that_cost_nothing_keep_no_proposal_from_being_approved(world: World) -> None:
    market_id = await world.proposal()
    await world.vote_on_proposal(market_id, yes=3)
    await world.vote_on_proposal(market_id, yes=0, no=30, lamports=0)
    (action,) = await run(world)
    assert action.detail == "3 of 3 votes like it"

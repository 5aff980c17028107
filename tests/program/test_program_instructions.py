"""What each instruction leaves behind: whole accounts, field by field, and the one event that tells of it."""

from __future__ import annotations

import pytest
from msgspec import Struct, structs
from solders.account import Account
from solders.pubkey import Pubkey

from tests.program.program_chain import PROGRAM, SOL, START
from tests.program.program_world import (
    DISPUTE_PERIOD_SECONDS,
    EVIDENCE_CID,
    LIQUIDITY,
    QUESTION_CID,
    B,
    World,
)
from zmartd.chain import events
from zmartd.chain.accounts import GlobalConfig, MarketAccount, UserPosition, VoteRecord
from zmartd.market import fees, lmsr
from zmartd.market.lifecycle import MarketState, VoteKind

NOBODY = Pubkey.default()
NOTHING_RESERVED = bytes(119)


def u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def changes(before: Struct, after: Struct) -> dict[str, object]:
    """The fields that differ, with their new values."""
    old, new = structs.asdict(before), structs.asdict(after)
    return {name: value for name, value in new.items() if old[name] != value}


def bump_of(*seeds: bytes) -> int:
    return Pubkey.find_program_address(seeds, PROGRAM.program_id)[1]


def test_initialize_global_config_sets_the_protocol_up() -> None:
    world = World()
    landed = world.configure()
    admin, backend = world.admin.pubkey(), world.backend.pubkey()
    assert landed.event == events.GlobalConfigInitialized(
        admin=admin, backend_authority=backend, protocol_fee_bps=300, timestamp=START
    )
    assert world.chain.read(GlobalConfig, world.config) == GlobalConfig(
        admin=admin,
        backend_authority=backend,
        protocol_fee_wallet=world.fee_wallet,
        protocol_fee_bps=300,
        resolver_reward_bps=200,
        liquidity_provider_fee_bps=500,
        proposal_approval_threshold=7000,
        dispute_success_threshold=6000,
        min_resolution_delay=86_400,
        dispute_period=259_200,
        min_resolver_reputation=8000,
        is_paused=False,
        reserved=bytes(64),
        bump=bump_of(b"global-config"),
    )
    account = world.chain.account(world.config)
    assert (len(account.data), account.lamports) == (8 + 198, world.chain.rent(world.config))


def test_update_global_config_sets_what_it_is_given(world: World) -> None:
    before = world.chain.read(GlobalConfig, world.config)
    landed = world.chain.send(
        PROGRAM.update_global_config(
            admin=world.admin.pubkey(),
            protocol_fee_bps=1,
            resolver_reward_bps=2,
            liquidity_provider_fee_bps=9997,
            proposal_approval_threshold=10_000,
            dispute_success_threshold=0,
            min_resolution_delay=5,
            dispute_period=2**63 - 1,
        ),
        world.admin,
    )
    wanted = {
        "protocol_fee_bps": 1,
        "resolver_reward_bps": 2,
        "liquidity_provider_fee_bps": 9997,
        "proposal_approval_threshold": 10_000,
        "dispute_success_threshold": 0,
        "min_resolution_delay": 5,
        "dispute_period": 2**63 - 1,
    }
    assert changes(before, world.chain.read(GlobalConfig, world.config)) == wanted
    assert landed.event == events.ConfigUpdated(**wanted, timestamp=START)


def test_update_global_config_leaves_the_times_it_is_not_given(world: World) -> None:
    before = world.chain.read(GlobalConfig, world.config)
    landed = world.chain.send(
        PROGRAM.update_global_config(
            admin=world.admin.pubkey(),
            protocol_fee_bps=0,
            resolver_reward_bps=0,
            liquidity_provider_fee_bps=0,
            proposal_approval_threshold=7000,
            dispute_success_threshold=6000,
        ),
        world.admin,
    ).telling(events.ConfigUpdated)
    assert changes(before, world.chain.read(GlobalConfig, world.config)) == {
        "protocol_fee_bps": 0,
        "resolver_reward_bps": 0,
        "liquidity_provider_fee_bps": 0,
    }
    assert (landed.event.min_resolution_delay, landed.event.dispute_period) == (86_400, 259_200)


def test_emergency_pause_toggles(world: World) -> None:
    admin = world.admin.pubkey()
    assert world.pause().event == events.ProtocolPauseStatusChanged(True, admin, START)
    assert world.chain.read(GlobalConfig, world.config).is_paused
    assert world.pause().event == events.ProtocolPauseStatusChanged(False, admin, START)
    assert not world.chain.read(GlobalConfig, world.config).is_paused


def test_create_market_moves_the_liquidity_and_prices_at_one_half(world: World) -> None:
    creator, market_id = world.chain.wallet(1000 * SOL), bytes(range(32))
    address = PROGRAM.pdas.market(market_id)
    landed = world.chain.send(
        PROGRAM.create_market(
            creator=creator.pubkey(),
            market_id=market_id,
            b_parameter=B + 999,
            initial_liquidity=LIQUIDITY,
            ipfs_question_hash=QUESTION_CID,
        ),
        creator,
    )
    assert landed.event == events.MarketCreated(market_id, creator.pubkey(), B + 999, 0, START)
    assert world.chain.read(MarketAccount, address) == MarketAccount(
        market_id=market_id,
        creator=creator.pubkey(),
        state=MarketState.PROPOSED,
        b_parameter=B + 999,
        initial_liquidity=LIQUIDITY,
        current_liquidity=LIQUIDITY,
        shares_yes=B // 1000,
        shares_no=B // 1000,
        total_volume=0,
        created_at=START,
        approved_at=0,
        activated_at=0,
        resolution_proposed_at=0,
        resolved_at=0,
        finalized_at=0,
        resolver=NOBODY,
        proposed_outcome=None,
        final_outcome=None,
        ipfs_evidence_hash=QUESTION_CID.encode(),
        dispute_initiated_at=0,
        dispute_initiator=NOBODY,
        accumulated_protocol_fees=0,
        accumulated_resolver_fees=0,
        accumulated_lp_fees=0,
        proposal_likes=0,
        proposal_dislikes=0,
        proposal_total_votes=0,
        resolution_agree=0,
        resolution_disagree=0,
        resolution_total_votes=0,
        dispute_agree=0,
        dispute_disagree=0,
        dispute_total_votes=0,
        was_disputed=False,
        is_cancelled=False,
        cancelled_at=None,
        is_locked=False,
        reserved=NOTHING_RESERVED,
        bump=bump_of(b"market", market_id),
    )
    rent = world.chain.rent(address)
    assert len(world.chain.account(address).data) == 8 + 480
    assert world.chain.lamports(address) == rent + LIQUIDITY
    assert world.chain.lamports(creator.pubkey()) == 1000 * SOL - rent - LIQUIDITY


@pytest.mark.parametrize("vote", [True, False])
def test_submit_proposal_vote_records_one_vote(world: World, vote: bool) -> None:
    market, user = world.market(MarketState.PROPOSED), world.chain.wallet()
    before = world.read(market)
    landed = world.chain.send(
        PROGRAM.submit_proposal_vote(user=user.pubkey(), market=market.address, vote=vote), user
    )
    record = PROGRAM.pdas.vote(market.address, user.pubkey(), VoteKind.PROPOSAL)
    seeds = (b"vote", bytes(market.address), bytes(user.pubkey()), b"\0")
    assert landed.event == events.ProposalVoteSubmitted(market.id, user.pubkey(), vote, START)
    assert world.chain.read(VoteRecord, record) == VoteRecord(
        market.address, user.pubkey(), VoteKind.PROPOSAL, vote, START, bump_of(*seeds)
    )
    assert len(world.chain.account(record).data) == 83
    assert world.read(market) == before


@pytest.mark.parametrize("vote", [True, False])
def test_submit_dispute_vote_records_one_vote_apart_from_that_on_the_proposal(
    world: World, vote: bool
) -> None:
    market, user = world.market(MarketState.PROPOSED), world.chain.wallet()
    first = PROGRAM.submit_proposal_vote(user=user.pubkey(), market=market.address, vote=not vote)
    world.chain.send(first, user)
    world.approve(market)
    world.activate(market)
    world.resolve(market, True)
    world.dispute(market)
    landed = world.chain.send(
        PROGRAM.submit_dispute_vote(user=user.pubkey(), market=market.address, vote=vote), user
    )
    record = PROGRAM.pdas.vote(market.address, user.pubkey(), VoteKind.DISPUTE)
    seeds = (b"vote", bytes(market.address), bytes(user.pubkey()), b"\x01")
    assert landed.event == events.DisputeVoteSubmitted(market.id, user.pubkey(), vote, world.chain.now)
    assert world.chain.read(VoteRecord, record) == VoteRecord(
        market.address, user.pubkey(), VoteKind.DISPUTE, vote, world.chain.now, bump_of(*seeds)
    )


@pytest.mark.parametrize(
    ("likes", "dislikes", "percentage", "approved"),
    [
        (7, 3, 70, True),
        (6999, 3001, 69, False),
        (7000, 3000, 70, True),
        (0, 0, 0, False),
        (0, 1, 0, False),
        (1, 0, 100, True),
        (2**32 - 1, 0, 100, True),
        (2**31, 2**31 - 1, 50, False),
    ],
)
def test_aggregate_proposal_votes_records_the_counts_and_changes_no_state(
    world: World, likes: int, dislikes: int, percentage: int, approved: bool
) -> None:
    market = world.market(MarketState.PROPOSED)
    before = world.read(market)
    landed = world.chain.send(
        PROGRAM.aggregate_proposal_votes(
            backend_authority=world.backend.pubkey(),
            market=market.address,
            final_likes=likes,
            final_dislikes=dislikes,
        ),
        world.backend,
    )
    assert landed.event == events.ProposalAggregated(market.id, likes, dislikes, percentage, approved, START)
    counts = {
        "proposal_likes": likes,
        "proposal_dislikes": dislikes,
        "proposal_total_votes": likes + dislikes,
    }
    assert changes(before, world.read(market)) == {name: n for name, n in counts.items() if n}


def test_counting_and_approving_fit_in_one_transaction(world: World) -> None:
    market = world.market(MarketState.PROPOSED)
    counts = PROGRAM.aggregate_proposal_votes(
        backend_authority=world.backend.pubkey(), market=market.address, final_likes=7, final_dislikes=3
    )
    approval = PROGRAM.approve_proposal(admin=world.admin.pubkey(), market=market.address)
    landed = world.chain.send([counts, approval], world.backend, world.admin)
    assert landed.events == (
        events.ProposalAggregated(market.id, 7, 3, 70, True, START),
        events.ProposalApproved(market.id, world.admin.pubkey(), START),
    )
    market_account = world.read(market)
    assert (market_account.state, market_account.approved_at) == (MarketState.APPROVED, START)


@pytest.mark.parametrize("by_creator", [True, False])
def test_activate_market_opens_trading(world: World, by_creator: bool) -> None:
    market = world.market(MarketState.APPROVED)
    before = world.read(market)
    authority = market.creator if by_creator else world.admin
    landed = world.chain.send(
        PROGRAM.activate_market(authority=authority.pubkey(), market=market.address), authority
    )
    assert landed.event == events.MarketActivated(market.id, market.creator.pubkey(), LIQUIDITY, START)
    assert changes(before, world.read(market)) == {"state": MarketState.ACTIVE, "activated_at": START}


@pytest.mark.parametrize("outcome", [True, False])
def test_buy_shares_takes_the_quoted_cost_and_no_lamport_more(world: World, outcome: bool) -> None:
    market, user = world.market(), world.chain.wallet(100 * SOL)
    q = B // 1000
    cost, shares = lmsr.quote_buy(q, q, B, outcome, fees.budget_before_fees(10 * SOL))
    protocol, resolver, lp, total_fees = fees.split(cost, 300, 200, 500)
    before, treasury = world.read(market), world.chain.lamports(world.fee_wallet)
    landed = world.buy(market, user, outcome, 10 * SOL)
    after = world.read(market)
    total = cost + total_fees
    side = "shares_yes" if outcome else "shares_no"
    assert changes(before, after) == {
        side: q + shares,
        "current_liquidity": LIQUIDITY + cost,
        "total_volume": total,
        "accumulated_protocol_fees": protocol,
        "accumulated_resolver_fees": resolver,
        "accumulated_lp_fees": lp,
        "reserved": bytes(8) + u64(total) + bytes(103),
    }
    price = lmsr.price_yes(after.shares_yes, after.shares_no, B)
    assert landed.event == events.SharesBought(market.id, user.pubkey(), outcome, shares, total, price, START)
    position = PROGRAM.pdas.position(market.address, user.pubkey())
    assert world.position_of(market, user) == UserPosition(
        market=market.address,
        user=user.pubkey(),
        shares_yes=shares if outcome else 0,
        shares_no=0 if outcome else shares,
        total_invested=total,
        trades_count=1,
        last_trade_at=START,
        has_claimed=False,
        claimed_amount=0,
        reserved=bytes(64),
        bump=bump_of(b"position", bytes(market.address), bytes(user.pubkey())),
    )
    assert len(world.chain.account(position).data) == 182
    rent = world.chain.rent(position)
    assert world.chain.lamports(user.pubkey()) == 100 * SOL - total - rent
    assert world.chain.lamports(world.fee_wallet) == treasury + protocol
    assert world.chain.lamports(market.address) == (
        world.chain.rent(market.address) + LIQUIDITY + total - protocol
    )


def test_a_second_purchase_adds_to_the_position(world: World) -> None:
    market, user = world.market(), world.chain.wallet()
    first = world.buy(market, user, True, 3 * SOL).event
    world.chain.now += 60
    second = world.buy(market, user, False, 2 * SOL).event
    position = world.position_of(market, user)
    assert (position.shares_yes, position.shares_no) == (first.shares, second.shares)
    assert position.total_invested == first.cost + second.cost
    assert (position.trades_count, position.last_trade_at) == (2, START + 60)


@pytest.mark.parametrize("outcome", [True, False])
def test_sell_shares_pays_the_quoted_proceeds(world: World, outcome: bool) -> None:
    market, user = world.market(), world.chain.wallet()
    bought = world.buy(market, user, outcome, 10 * SOL).event
    shares = bought.shares // 3
    before, held = world.read(market), world.position_of(market, user)
    wallet, treasury, pool = map(world.chain.lamports, (user.pubkey(), world.fee_wallet, market.address))
    proceeds = lmsr.quote_sell(before.shares_yes, before.shares_no, B, outcome, shares)
    protocol, resolver, lp, total_fees = fees.split(proceeds, 300, 200, 500)
    net = proceeds - total_fees
    world.chain.now += 1
    landed = world.sell(market, user, outcome, shares, min_proceeds=net)
    after = world.read(market)
    side = "shares_yes" if outcome else "shares_no"
    assert changes(before, after) == {
        side: getattr(before, side) - shares,
        "current_liquidity": before.current_liquidity - proceeds,
        "total_volume": before.total_volume + proceeds,
        "accumulated_protocol_fees": before.accumulated_protocol_fees + protocol,
        "accumulated_resolver_fees": before.accumulated_resolver_fees + resolver,
        "accumulated_lp_fees": before.accumulated_lp_fees + lp,
        "reserved": bytes(8) + u64(bought.cost - net) + bytes(103),
    }
    price = lmsr.price_yes(after.shares_yes, after.shares_no, B)
    assert landed.event == events.SharesSold(market.id, user.pubkey(), outcome, shares, net, price, START + 1)
    assert changes(held, world.position_of(market, user)) == {
        side: bought.shares - shares,
        "trades_count": 2,
        "last_trade_at": START + 1,
        "reserved": u64(net) + bytes(56),
    }
    assert world.chain.lamports(user.pubkey()) == wallet + net
    assert world.chain.lamports(world.fee_wallet) == treasury + protocol
    assert world.chain.lamports(market.address) == pool - net - protocol


@pytest.mark.parametrize("outcome", [True, False])
def test_resolve_market_proposes_an_outcome(world: World, outcome: bool) -> None:
    market = world.market()
    before = world.read(market)
    landed = world.resolve(market, outcome)
    resolver, cid = market.resolver.pubkey(), EVIDENCE_CID.encode()
    assert landed.event == events.MarketResolved(market.id, resolver, outcome, cid, START + 1)
    assert changes(before, world.read(market)) == {
        "state": MarketState.RESOLVING,
        "resolver": resolver,
        "proposed_outcome": outcome,
        "ipfs_evidence_hash": cid,
        "resolution_proposed_at": START + 1,
    }


def test_initiate_dispute_opens_the_resolution_to_a_vote(world: World) -> None:
    market, initiator = world.market(MarketState.RESOLVING), world.chain.wallet()
    world.change(market, dispute_agree=3, dispute_disagree=4, dispute_total_votes=7)
    before = world.read(market)
    world.chain.now += DISPUTE_PERIOD_SECONDS - 1
    landed = world.chain.send(
        PROGRAM.initiate_dispute(initiator=initiator.pubkey(), market=market.address), initiator
    )
    now = world.chain.now
    assert landed.event == events.DisputeInitiated(market.id, initiator.pubkey(), True, now)
    assert changes(before, world.read(market)) == {
        "state": MarketState.DISPUTED,
        "dispute_initiated_at": now,
        "dispute_initiator": initiator.pubkey(),
        "dispute_agree": 0,
        "dispute_disagree": 0,
        "dispute_total_votes": 0,
    }


@pytest.mark.parametrize(
    ("agrees", "disagrees", "percentage", "succeeded"),
    [(6, 4, 60, True), (5999, 4001, 59, False), (0, 0, 0, False), (1, 0, 100, True)],
)
def test_aggregate_dispute_votes_reopens_the_resolution_or_ends_the_market(
    world: World, agrees: int, disagrees: int, percentage: int, succeeded: bool
) -> None:
    market = world.market(MarketState.DISPUTED)
    landed = world.chain.send(
        PROGRAM.aggregate_dispute_votes(
            backend_authority=world.backend.pubkey(),
            market=market.address,
            final_agrees=agrees,
            final_disagrees=disagrees,
        ),
        world.backend,
    )
    now = world.chain.now
    assert landed.event == events.DisputeAggregated(market.id, agrees, disagrees, percentage, succeeded, now)
    after = world.read(market)
    assert (after.dispute_agree, after.dispute_disagree) == (agrees, disagrees)
    assert after.dispute_total_votes == agrees + disagrees
    assert after.state == (MarketState.RESOLVING if succeeded else MarketState.FINALIZED)
    assert after.finalized_at == (0 if succeeded else now)
    assert (after.proposed_outcome, after.final_outcome) == (True, None)


@pytest.mark.parametrize("outcome", [True, False])
def test_finalize_market_keeps_an_undisputed_outcome(world: World, outcome: bool) -> None:
    market = world.market()
    world.resolve(market, outcome)
    before = world.read(market)
    landed = world.finalize(market)
    now = world.chain.now
    assert now == before.resolution_proposed_at + DISPUTE_PERIOD_SECONDS
    assert landed.event == events.MarketFinalized(market.id, outcome, False, now)
    assert changes(before, world.read(market)) == {
        "state": MarketState.FINALIZED,
        "final_outcome": outcome,
        "finalized_at": now,
    }


@pytest.mark.parametrize("outcome", [True, False])
@pytest.mark.parametrize(("agree", "disagree", "flipped"), [(6, 4, True), (5999, 4001, False), (0, 1, False)])
def test_finalize_market_flips_an_outcome_that_the_dispute_voted_down(
    world: World, outcome: bool, agree: int, disagree: int, flipped: bool
) -> None:
    market = world.market()
    world.resolve(market, outcome)
    world.dispute(market)
    before = world.read(market)
    landed = world.finalize(market, agree, disagree)
    now = world.chain.now
    final = outcome != flipped
    assert landed.event == events.MarketFinalized(market.id, final, True, now)
    counts = {
        "dispute_agree": agree,
        "dispute_disagree": disagree,
        "dispute_total_votes": agree + disagree,
    }
    assert changes(before, world.read(market)) == {
        "state": MarketState.FINALIZED,
        "final_outcome": final,
        "was_disputed": True,
        "finalized_at": now,
    } | {name: count for name, count in counts.items() if count}


def test_a_dispute_that_reopened_the_resolution_is_remembered_at_the_end(world: World) -> None:
    market = world.market(MarketState.DISPUTED)
    counts = PROGRAM.aggregate_dispute_votes(
        backend_authority=world.backend.pubkey(), market=market.address, final_agrees=6, final_disagrees=4
    )
    world.chain.send(counts, world.backend)
    landed = world.finalize(market)
    assert landed.event == events.MarketFinalized(market.id, True, True, world.chain.now)
    assert world.read(market).was_disputed


@pytest.mark.parametrize("outcome", [True, False])
def test_claim_winnings_pays_the_winner_and_the_resolver(world: World, outcome: bool) -> None:
    market, winner, loser = world.market(), world.chain.wallet(), world.chain.wallet()
    bought = world.buy(market, winner, outcome, 10 * SOL).event
    world.buy(market, loser, not outcome, 4 * SOL)
    world.resolve(market, outcome)
    world.finalize(market)
    before, held = world.read(market), world.position_of(market, winner)
    wallet, resolver, pool = map(
        world.chain.lamports, (winner.pubkey(), market.resolver.pubkey(), market.address)
    )
    winning = before.shares_yes if outcome else before.shares_no
    amount = bought.shares * before.current_liquidity // winning
    fee = before.accumulated_resolver_fees
    assert fee > 0
    landed = world.claim(market, winner)
    now = world.chain.now
    assert landed.event == events.WinningsClaimed(market.address, winner.pubkey(), outcome, amount, now)
    assert changes(before, world.read(market)) == {
        "accumulated_resolver_fees": 0,
        "reserved": u64(bought.shares) + before.reserved[8:],
    }
    assert changes(held, world.position_of(market, winner)) == {
        "has_claimed": True,
        "claimed_amount": amount,
    }
    assert world.chain.lamports(winner.pubkey()) == wallet + amount
    assert world.chain.lamports(market.resolver.pubkey()) == resolver + fee
    assert world.chain.lamports(market.address) == pool - amount - fee


def test_without_an_outcome_a_claim_returns_what_was_paid_in_and_not_taken_out(world: World) -> None:
    market, user = world.market(), world.chain.wallet()
    bought = world.buy(market, user, True, 10 * SOL).event
    sold = world.sell(market, user, True, bought.shares // 2).event
    world.resolve(market, True)
    world.dispute(market)
    world.finalize_without_outcome(market)
    wallet = world.chain.lamports(user.pubkey())
    landed = world.claim(market, user)
    amount = bought.cost - sold.proceeds
    assert landed.event == events.WinningsClaimed(
        market.address, user.pubkey(), None, amount, world.chain.now
    )
    assert world.chain.lamports(user.pubkey()) == wallet + amount
    assert world.read(market).reserved == u64(amount) + u64(amount) + bytes(103)


def test_withdraw_liquidity_gives_the_creator_what_nobody_else_is_owed(world: World) -> None:
    market, winner = world.market(), world.chain.wallet()
    bought = world.buy(market, winner, True, 10 * SOL).event
    world.resolve(market, True)
    world.finalize(market)
    before = world.read(market)
    pool, wallet = map(world.chain.lamports, (market.address, market.creator.pubkey()))
    owed = bought.shares * before.current_liquidity // before.shares_yes
    kept = owed + before.accumulated_resolver_fees + world.chain.rent(market.address)
    landed = world.withdraw(market)
    now = world.chain.now
    creator = market.creator.pubkey()
    assert landed.event == events.LiquidityWithdrawn(market.id, creator, pool - kept, now)
    assert changes(before, world.read(market)) == {"accumulated_lp_fees": 0}
    assert world.chain.lamports(market.address) == kept
    assert world.chain.lamports(creator) == wallet + pool - kept
    world.claim(market, winner)
    assert world.chain.lamports(market.address) == world.chain.rent(market.address)


def test_a_cancelled_market_gives_its_creator_the_liquidity_back(world: World) -> None:
    market = world.market(MarketState.CANCELLED)
    wallet = world.chain.lamports(market.creator.pubkey())
    landed = world.withdraw(market)
    assert landed.event == events.LiquidityWithdrawn(market.id, market.creator.pubkey(), LIQUIDITY, START)
    assert world.chain.lamports(market.creator.pubkey()) == wallet + LIQUIDITY
    assert world.chain.lamports(market.address) == world.chain.rent(market.address)


@pytest.mark.parametrize("state", [MarketState.PROPOSED, MarketState.APPROVED])
def test_cancel_market_ends_a_market_before_trading(world: World, state: MarketState) -> None:
    market = world.market(state)
    before = world.read(market)
    world.chain.now += 5
    landed = world.cancel(market)
    assert landed.event == events.MarketCancelled(market.id, world.admin.pubkey(), START + 5)
    assert changes(before, world.read(market)) == {
        "state": MarketState.CANCELLED,
        "is_cancelled": True,
        "cancelled_at": START + 5,
    }
    assert world.read(market).bump == before.bump


def test_what_follows_an_options_growth_is_written_anew_and_the_rest_kept_zero(world: World) -> None:
    market = world.market()
    account = world.chain.account(market.address)
    used = len(world.read(market).encode())
    junk = Account(account.lamports, account.data[:used] + b"\xee" * (488 - used), account.owner)
    world.chain.runtime.set_account(market.address, junk)
    world.resolve(market, True)
    encoded = world.read(market).encode()
    assert len(encoded) == used + 1
    assert world.chain.account(market.address).data == encoded + bytes(488 - len(encoded))

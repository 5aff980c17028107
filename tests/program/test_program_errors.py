"""Every error that the program's contract names, from the instruction it is named for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair

from tests.program.program_chain import (
    ACCOUNT_IN_USE,
    IDL,
    PROGRAM,
    SOL,
    Refused,
    error_code,
    with_data,
)
from tests.program.program_world import (
    DISPUTE_PERIOD_SECONDS,
    EVIDENCE_CID,
    LIQUIDITY,
    QUESTION_CID,
    B,
    Market,
    World,
)
from tests.program.valid_requests import REQUESTS
from zmartd.market import fees, lmsr
from zmartd.market.lifecycle import MarketState

S = MarketState
FEES_AND_THRESHOLDS = {
    "protocol_fee_bps": 300,
    "resolver_reward_bps": 200,
    "liquidity_provider_fee_bps": 500,
    "proposal_approval_threshold": 7000,
    "dispute_success_threshold": 6000,
}


def assert_error(refused: Refused, name: str) -> None:
    """The program's number for the error, and the line that clients take its name from."""
    assert refused.code == error_code(name), refused.logs
    error = IDL.error(error_code(name))
    assert error is not None
    ending = f". Error Code: {name}. Error Number: {error_code(name)}. Error Message: {error.msg}."
    assert refused.line.startswith("AnchorError ")
    assert refused.line.endswith(ending)


def update(world: World, **changes: int) -> Instruction:
    return PROGRAM.update_global_config(admin=world.admin.pubkey(), **(FEES_AND_THRESHOLDS | changes))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"protocol_fee_bps": 9301}, "InvalidFeeStructure"),
        ({"protocol_fee_bps": 65_535, "resolver_reward_bps": 65_535}, "InvalidFeeStructure"),
        ({"proposal_approval_threshold": 10_001}, "InvalidThreshold"),
        ({"dispute_success_threshold": 10_001}, "InvalidThreshold"),
        ({"min_resolution_delay": 0}, "InvalidTimeLimit"),
        ({"min_resolution_delay": -1}, "InvalidTimeLimit"),
        ({"dispute_period": 0}, "InvalidTimeLimit"),
        ({"dispute_period": -(2**63)}, "InvalidTimeLimit"),
    ],
)
def test_update_global_config_refuses_impossible_settings(
    world: World, changes: dict[str, int], error: str
) -> None:
    before = world.chain.account(world.config)
    assert_error(world.chain.refusal(update(world, **changes), world.admin), error)
    assert world.chain.account(world.config) == before


def creation(creator: Keypair, *, b: int = B, liquidity: int = LIQUIDITY) -> Instruction:
    return PROGRAM.create_market(
        creator=creator.pubkey(),
        market_id=bytes(32),
        b_parameter=b,
        initial_liquidity=liquidity,
        ipfs_question_hash=QUESTION_CID,
    )


def test_create_market_needs_a_running_protocol_a_b_and_liquidity(world: World) -> None:
    creator = world.chain.wallet()
    assert_error(world.chain.refusal(creation(creator, b=0), creator), "InvalidBParameter")
    assert_error(world.chain.refusal(creation(creator, liquidity=0), creator), "InvalidLiquidity")
    world.pause()
    assert_error(world.chain.refusal(creation(creator), creator), "ProtocolPaused")
    world.pause()
    world.chain.send(creation(creator), creator)


def test_create_market_takes_no_more_than_the_creator_has(world: World) -> None:
    creator = world.chain.wallet(LIQUIDITY)
    assert world.chain.refusal(creation(creator), creator).code == 1  # the system program's
    assert world.chain.refusal(creation(creator, liquidity=2**64 - 1), creator).code == 1
    assert world.chain.lamports(creator.pubkey()) == LIQUIDITY


def instruction_in_state(name: str, world: World, market: Market) -> tuple[Instruction, Keypair]:
    """The instruction of that name for a market in any state, and who signs it."""
    backend, user = world.backend.pubkey(), market.resolver
    at = {"market": market.address}
    trade = at | {"user": user.pubkey(), "protocol_fee_wallet": world.fee_wallet}
    match name:
        case "submit_proposal_vote":
            return PROGRAM.submit_proposal_vote(user=user.pubkey(), vote=True, **at), user
        case "submit_dispute_vote":
            return PROGRAM.submit_dispute_vote(user=user.pubkey(), vote=True, **at), user
        case "aggregate_proposal_votes":
            return PROGRAM.aggregate_proposal_votes(
                backend_authority=backend, final_likes=1, final_dislikes=0, **at
            ), world.backend
        case "aggregate_dispute_votes":
            return PROGRAM.aggregate_dispute_votes(
                backend_authority=backend, final_agrees=1, final_disagrees=0, **at
            ), world.backend
        case "approve_proposal":
            return PROGRAM.approve_proposal(admin=world.admin.pubkey(), **at), world.admin
        case "activate_market":
            return PROGRAM.activate_market(authority=world.admin.pubkey(), **at), world.admin
        case "buy_shares":
            return PROGRAM.buy_shares(outcome=True, target_cost=SOL, **trade), user
        case "resolve_market":
            return PROGRAM.resolve_market(
                resolver=user.pubkey(), proposed_outcome=True, ipfs_evidence_hash=EVIDENCE_CID, **at
            ), user
        case "initiate_dispute":
            return PROGRAM.initiate_dispute(initiator=user.pubkey(), **at), user
        case "finalize_market":
            return PROGRAM.finalize_market(
                backend_authority=backend, dispute_agree=1, dispute_disagree=0, **at
            ), world.backend
        case "withdraw_liquidity":
            return PROGRAM.withdraw_liquidity(creator=market.creator.pubkey(), **at), market.creator
        case "cancel_market":
            return PROGRAM.cancel_market(admin=world.admin.pubkey(), **at), world.admin
    raise KeyError(name)


RIGHT_STATES = {
    "submit_proposal_vote": ({S.PROPOSED}, "InvalidStateForVoting"),
    "submit_dispute_vote": ({S.DISPUTED}, "InvalidStateForVoting"),
    "aggregate_proposal_votes": ({S.PROPOSED}, "InvalidStateForVoting"),
    "aggregate_dispute_votes": ({S.DISPUTED}, "InvalidStateForVoting"),
    "approve_proposal": ({S.PROPOSED}, "InvalidStateTransition"),
    "activate_market": ({S.APPROVED}, "InvalidStateTransition"),
    "buy_shares": ({S.ACTIVE}, "InvalidMarketState"),
    "resolve_market": ({S.ACTIVE}, "InvalidStateTransition"),
    "initiate_dispute": ({S.RESOLVING}, "InvalidStateTransition"),
    "finalize_market": ({S.RESOLVING, S.DISPUTED}, "InvalidStateTransition"),
    "withdraw_liquidity": ({S.FINALIZED, S.CANCELLED}, "InvalidMarketState"),
    "cancel_market": ({S.PROPOSED, S.APPROVED}, "CannotCancelMarket"),
}


def wrong_states() -> Iterator[tuple[str, MarketState, str]]:
    for name, (right, error) in RIGHT_STATES.items():
        for state in MarketState:
            if (name, state) == ("cancel_market", S.CANCELLED):
                yield name, state, "MarketAlreadyCancelled"
            elif state not in right:
                yield name, state, error


@pytest.mark.parametrize(("name", "state", "error"), list(wrong_states()))
def test_an_instruction_has_its_states(world: World, name: str, state: MarketState, error: str) -> None:
    market = world.market(state)
    world.chain.now += DISPUTE_PERIOD_SECONDS
    before = world.chain.account(market.address)
    instruction, signer = instruction_in_state(name, world, market)
    assert_error(world.chain.refusal(instruction, signer), error)
    assert world.chain.account(market.address) == before


@pytest.mark.parametrize("state", [state for state in MarketState if state != S.ACTIVE])
def test_shares_are_sold_only_while_the_market_is_active(world: World, state: MarketState) -> None:
    market, user = world.market(), world.chain.wallet()
    world.buy(market, user, True, SOL)
    world.change(market, state=state)
    with pytest.raises(Refused) as raised:
        world.sell(market, user, True, SOL // 10)
    assert_error(raised.value, "InvalidMarketState")


@pytest.mark.parametrize("state", [state for state in MarketState if state != S.FINALIZED])
def test_winnings_are_claimed_only_when_the_market_is_final(world: World, state: MarketState) -> None:
    market, user = world.market(), world.chain.wallet()
    world.buy(market, user, True, SOL)
    world.change(market, state=state, final_outcome=True, resolver=market.resolver.pubkey())
    with pytest.raises(Refused) as raised:
        world.claim(market, user)
    assert_error(raised.value, "InvalidMarketState")


@pytest.mark.parametrize(
    ("name", "state"), [("submit_proposal_vote", S.PROPOSED), ("submit_dispute_vote", S.DISPUTED)]
)
def test_a_second_vote_finds_the_account_in_use(world: World, name: str, state: MarketState) -> None:
    market = world.market(state)
    instruction, signer = instruction_in_state(name, world, market)
    world.chain.send(instruction, signer)
    refused = world.chain.refusal(instruction, signer)
    assert refused.code == ACCOUNT_IN_USE
    assert any("already in use" in line for line in refused.logs)


@pytest.mark.parametrize("name", ["aggregate_proposal_votes", "aggregate_dispute_votes", "finalize_market"])
def test_counts_whose_sum_does_not_fit_are_refused(world: World, name: str) -> None:
    market = world.market(S.PROPOSED if name == "aggregate_proposal_votes" else S.DISPUTED)
    instruction, signer = instruction_in_state(name, world, market)
    option = b"\x01" if name == "finalize_market" else b""
    counts = option + (2**32 - 1).to_bytes(4, "little") + option + (1).to_bytes(4, "little")
    refused = world.chain.refusal(with_data(instruction, instruction.data[:8] + counts), signer)
    assert_error(refused, "OverflowError")


def test_approve_proposal_needs_votes_and_enough_of_them(world: World) -> None:
    market = world.market(S.PROPOSED)
    approval = PROGRAM.approve_proposal(admin=world.admin.pubkey(), market=market.address)
    assert_error(world.chain.refusal(approval, world.admin), "NoVotesRecorded")
    counts = PROGRAM.aggregate_proposal_votes(
        backend_authority=world.backend.pubkey(),
        market=market.address,
        final_likes=6999,
        final_dislikes=3001,
    )
    refused = world.chain.refusal([counts, approval], world.backend, world.admin)
    assert_error(refused, "InsufficientVotes")
    assert world.read(market).proposal_total_votes == 0, "both or neither"


def test_buy_shares_refuses_a_paused_protocol_and_small_change(world: World) -> None:
    market, user = world.market(), world.chain.wallet()
    with pytest.raises(Refused) as raised:
        world.buy(market, user, True, 9_999)
    assert_error(raised.value, "TradeTooSmall")
    with pytest.raises(Refused) as raised:
        world.buy(market, user, True, 10_000)
    assert_error(raised.value, "UnderflowError")  # large enough, but not for the curve's coarse steps
    world.pause()
    with pytest.raises(Refused) as raised:
        world.buy(market, user, True, SOL)
    assert_error(raised.value, "ProtocolPaused")


def test_buy_shares_never_takes_more_than_the_target_cost(world: World) -> None:
    market, user = world.market(), world.chain.wallet()
    world.set_fees(2_000, 0, 0)
    with pytest.raises(Refused) as raised:
        world.buy(market, user, True, SOL)
    assert_error(raised.value, "SlippageExceeded")


def test_buy_shares_takes_no_more_than_the_user_has(world: World) -> None:
    market, user = world.market(), world.chain.wallet(2 * SOL)
    with pytest.raises(Refused) as raised:
        world.buy(market, user, True, 3 * SOL)
    assert raised.value.code == 1  # the system program's
    assert world.chain.lamports(user.pubkey()) == 2 * SOL


@pytest.mark.parametrize("target", [10**19, 2**64 - 1])
def test_a_target_at_the_limit_buys_what_the_search_reaches_at_its_cost(world: World, target: int) -> None:
    market, user = world.market(), world.chain.wallet()
    q = B // 1000
    cost, shares = lmsr.quote_buy(q, q, B, True, fees.budget_before_fees(target))
    bought = world.buy(market, user, True, target).event
    assert (bought.cost, bought.shares) == (cost + fees.split(cost, 300, 200, 500)[3], shares)
    with pytest.raises(Refused) as raised:
        world.buy(market, user, True, target)
    assert_error(raised.value, "ExponentTooLarge")


@pytest.mark.parametrize(
    ("b", "error"),
    [(lmsr.MIN_B - 1, "InvalidBParameter"), (2**64 - 1, "OverflowError"), (1, "InvalidBParameter")],
)
def test_a_market_whose_b_cannot_be_computed_with_takes_no_trades(world: World, b: int, error: str) -> None:
    market, user = world.market(b=b), world.chain.wallet()
    with pytest.raises(Refused) as raised:
        world.buy(market, user, True, SOL)
    assert_error(raised.value, error)
    world.resolve(market, True)
    world.finalize(market)
    world.withdraw(market)


def test_sell_shares_refuses_more_than_is_held_and_a_paused_protocol(world: World) -> None:
    market, user, other = world.market(), world.chain.wallet(), world.chain.wallet()
    shares = world.buy(market, user, True, SOL).event.shares
    world.buy(market, other, True, 10 * SOL)
    for outcome, too_many in ((True, shares + 1), (False, 1), (True, 2**64 - 1)):
        with pytest.raises(Refused) as raised:
            world.sell(market, user, outcome, too_many)
        assert_error(raised.value, "InsufficientShares")
    world.pause()
    with pytest.raises(Refused) as raised:
        world.sell(market, user, True, shares)
    assert_error(raised.value, "ProtocolPaused")


def test_sell_shares_refuses_small_change_and_bad_prices(world: World) -> None:
    market, user = world.market(), world.chain.wallet()
    shares = world.buy(market, user, True, SOL).event.shares
    for few in (0, 1, 1_000):
        with pytest.raises(Refused) as raised:
            world.sell(market, user, True, few)
        assert_error(raised.value, "TradeTooSmall")
    at = world.read(market)
    proceeds = lmsr.quote_sell(at.shares_yes, at.shares_no, B, True, shares)
    net = proceeds - fees.split(proceeds, 300, 200, 500)[3]
    with pytest.raises(Refused) as raised:
        world.sell(market, user, True, shares, min_proceeds=net + 1)
    assert_error(raised.value, "SlippageExceeded")
    world.sell(market, user, True, shares, min_proceeds=net)


def test_resolve_market_refuses_the_second_of_activation_and_a_known_outcome(world: World) -> None:
    market = world.market()
    instruction, signer = instruction_in_state("resolve_market", world, market)
    assert_error(world.chain.refusal(instruction, signer), "InvalidTimestamp")
    world.chain.now += 1
    world.change(market, proposed_outcome=False)
    assert_error(world.chain.refusal(instruction, signer), "AlreadyResolved")


@pytest.mark.parametrize("waited", [0, DISPUTE_PERIOD_SECONDS, DISPUTE_PERIOD_SECONDS + 1])
def test_initiate_dispute_has_its_period(world: World, waited: int) -> None:
    market = world.market(S.RESOLVING)
    world.chain.now += waited
    instruction, signer = instruction_in_state("initiate_dispute", world, market)
    assert_error(world.chain.refusal(instruction, signer), "DisputePeriodEnded")


def test_finalize_market_waits_for_the_dispute_period(world: World) -> None:
    market = world.market(S.RESOLVING)
    world.chain.now += DISPUTE_PERIOD_SECONDS - 1
    instruction = PROGRAM.finalize_market(backend_authority=world.backend.pubkey(), market=market.address)
    assert_error(world.chain.refusal(instruction, world.backend), "DisputePeriodNotEnded")
    world.chain.now += 1
    world.chain.send(instruction, world.backend)


@pytest.mark.parametrize(("agree", "disagree"), [(None, None), (1, None), (None, 1), (0, 0)])
def test_finalize_market_needs_both_counts_of_a_dispute(
    world: World, agree: int | None, disagree: int | None
) -> None:
    market = world.market(S.DISPUTED)
    instruction = PROGRAM.finalize_market(
        backend_authority=world.backend.pubkey(),
        market=market.address,
        dispute_agree=agree,
        dispute_disagree=disagree,
    )
    assert_error(world.chain.refusal(instruction, world.backend), "NoVotesRecorded")


def test_finalize_market_refuses_a_loss_that_the_curve_cannot_make(world: World) -> None:
    market = world.market(S.RESOLVING)
    bound = B * 693_147_180 // SOL
    liquidity = 2 * bound
    world.change(market, initial_liquidity=liquidity, current_liquidity=liquidity - bound - 1)
    with pytest.raises(Refused) as raised:
        world.finalize(market)
    assert_error(raised.value, "BoundedLossExceeded")
    world.change(market, current_liquidity=liquidity - bound)
    world.finalize(market)


def test_claim_winnings_pays_once_and_only_winners(world: World) -> None:
    market, winner, loser = world.market(), world.chain.wallet(), world.chain.wallet()
    world.buy(market, winner, True, SOL)
    world.buy(market, loser, False, SOL)
    world.resolve(market, True)
    world.finalize(market)
    with pytest.raises(Refused) as raised:
        world.claim(market, loser)
    assert_error(raised.value, "NoWinnings")
    world.claim(market, winner)
    with pytest.raises(Refused) as raised:
        world.claim(market, winner)
    assert_error(raised.value, "AlreadyClaimed")


def test_claim_winnings_wants_the_markets_resolver(world: World) -> None:
    market, winner = world.market(), world.chain.wallet()
    world.buy(market, winner, True, SOL)
    world.resolve(market, True)
    world.finalize(market)
    claim = PROGRAM.claim_winnings(user=winner.pubkey(), market=market.address, resolver=winner.pubkey())
    assert_error(world.chain.refusal(claim, winner), "InvalidResolver")


def test_who_sold_everything_at_a_profit_is_owed_nothing_without_an_outcome(world: World) -> None:
    market, early, late = world.market(), world.chain.wallet(), world.chain.wallet()
    shares = world.buy(market, early, True, SOL).event.shares
    world.buy(market, late, True, 300 * SOL)
    world.sell(market, early, True, shares)
    world.resolve(market, True)
    world.dispute(market)
    world.finalize_without_outcome(market)
    with pytest.raises(Refused) as raised:
        world.claim(market, early)
    assert_error(raised.value, "NoWinnings")


def test_withdraw_liquidity_needs_more_than_ten_thousand_free_lamports(world: World) -> None:
    market = world.market(S.FINALIZED)
    world.withdraw(market)
    with pytest.raises(Refused) as raised:
        world.withdraw(market)
    assert_error(raised.value, "InsufficientLiquidity")
    rent = world.chain.rent(market.address)
    world.chain.set_lamports(market.address, rent + 10_000)
    with pytest.raises(Refused) as raised:
        world.withdraw(market)
    assert_error(raised.value, "InsufficientLiquidity")
    world.chain.set_lamports(market.address, rent + 10_001)
    assert world.withdraw(market).event.amount == 10_001


def test_a_market_that_lost_its_lamports_pays_nothing_out_of_its_rent(world: World) -> None:
    """No instruction leads there: the check is the last line of defence."""
    market, user = world.market(), world.chain.wallet()
    shares = world.buy(market, user, True, SOL).event.shares
    world.chain.set_lamports(market.address, world.chain.rent(market.address) + 100)
    with pytest.raises(Refused) as raised:
        world.sell(market, user, True, shares)
    assert_error(raised.value, "WouldBreakRentExemption")


def test_no_position_means_nothing_to_sell_or_claim(world: World) -> None:
    market, user = world.market(S.FINALIZED), world.chain.wallet()
    with pytest.raises(Refused) as raised:
        world.claim(market, user)
    assert raised.value.code == 3012


@pytest.mark.parametrize("data", [b"", bytes(7), bytes(8), b"\xff" * 8, bytes(1000)])
def test_an_unknown_instruction_is_refused(world: World, data: bytes) -> None:
    request = REQUESTS["emergency_pause"](world)
    refused = world.chain.refusal(with_data(request.instruction, data), request.signer)
    assert refused.code == 101
    assert refused.line.startswith(
        "AnchorError occurred. Error Code: InstructionFallbackNotFound. Error Number: 101. Error Message: "
    )


WITH_ARGUMENTS = [instruction.name for instruction in IDL.instructions if instruction.args]


@pytest.mark.parametrize("name", WITH_ARGUMENTS)
def test_arguments_must_be_whole(world: World, name: str) -> None:
    request = REQUESTS[name](world)
    for length in range(8, len(request.instruction.data)):
        cut = with_data(request.instruction, request.instruction.data[:length])
        refused = world.chain.refusal(cut, request.signer)
        assert refused.code == 102, length
        assert refused.line.startswith("AnchorError occurred. Error Code: InstructionDidNotDeserialize. ")


@pytest.mark.parametrize("name", REQUESTS)
def test_bytes_after_the_arguments_are_ignored_as_anchor_does(world: World, name: str) -> None:
    request = REQUESTS[name](world)
    world.chain.send(with_data(request.instruction, request.instruction.data + bytes(500)), request.signer)


FLAG_AT = {
    "submit_proposal_vote": (8,),
    "submit_dispute_vote": (8,),
    "buy_shares": (8,),
    "sell_shares": (8,),
    "resolve_market": (8,),
    "finalize_market": (8, 9),
    "update_global_config": (18, 27),
}


@pytest.mark.parametrize("name", FLAG_AT)
@pytest.mark.parametrize("value", [2, 255])
def test_a_flag_is_zero_or_one(world: World, name: str, value: int) -> None:
    request = REQUESTS[name](world)
    for at in FLAG_AT[name]:
        data = bytearray(request.instruction.data)
        data[at] = value
        assert world.chain.refusal(with_data(request.instruction, bytes(data)), request.signer).code == 102

"""When events are not inferred, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from solders.pubkey import Pubkey

from zmartd.chain import events
from zmartd.chain.calls import Call
from zmartd.chain.events import ProgramEvent
from zmartd.chain.flows import Flow
from zmartd.chain.interface import (
    ActivateMarket,
    AggregateDisputeVotes,
    BuyShares,
    CancelMarket,
    ClaimWinnings,
    CreateMarket,
    EmergencyPause,
    FinalizeMarket,
    Instruction,
    ResolveMarket,
    SellShares,
    SubmitProposalVote,
    UpdateGlobalConfig,
    WithdrawLiquidity,
)
from zmartd.chain.transactions import EventRecord
from zmartd.indexer.truncation.inference import Inference, infer_events
from zmartd.indexer.truncation.known import (
    INITIAL_CONFIGURATION,
    Holding,
    Known,
    KnownConfiguration,
    KnownMarket,
)
from zmartd.market.lifecycle import MarketState
from zmartd.market.lmsr import SCALE, Curve

AT = 1_800_000_000
B = 500 * SCALE
MARKET, OTHER, USER, CREATOR, RESOLVER = (Pubkey([number] * 32) for number in range(1, 6))
ID = b"m" * 32
EVIDENCE = b"Q" * 46
ACTIVE = KnownMarket(
    id=ID,
    creator=CREATOR,
    initial_liquidity=10**9,
    curve=Curve(B // 1000, B // 1000, B),
    liquidity=10**9,
    state=MarketState.ACTIVE,
)
FINAL = msgspec.structs.replace(
    ACTIVE, state=MarketState.FINALIZED, resolver=RESOLVER, proposed_outcome=True, final_outcome=True
)


def call(ordinal: int, instruction: Instruction | None, market: Pubkey | None = MARKET) -> Call:
    accounts = {
        "user": USER,
        "creator": CREATOR,
        "resolver": RESOLVER,
        "authority": CREATOR,
        "admin": CREATOR,
    }
    if market is not None:
        accounts["market"] = market
    return Call(ordinal, type(instruction).__name__, instruction, accounts)


def inferred(
    *instructions: Instruction | None,
    market: KnownMarket | None = ACTIVE,
    logged: Sequence[EventRecord] = (),
    flows: Mapping[str, Flow] | None = None,
    **known: Any,
) -> Inference:
    """What is inferred of these calls of one market."""
    markets = {} if market is None else {MARKET: market}
    defaults: dict[str, Any] = {"configuration": INITIAL_CONFIGURATION, "markets": markets}
    return infer_events(
        [call(ordinal, one) for ordinal, one in enumerate(instructions)],
        logged,
        Known(**defaults | known),
        flows or {},
        AT,
    )


def said(inference: Inference) -> list[ProgramEvent]:
    return [record.event for record in inference.events]


BOUGHT = EventRecord(0, events.SharesBought(ID, USER, True, 1, 2, 3, AT))
RESOLVED = events.MarketResolved(ID, RESOLVER, True, EVIDENCE, AT)

REFUSED: dict[str, tuple[Instruction, KnownMarket, str]] = {
    "a trade before the market is open": (
        BuyShares(True, 10**8),
        msgspec.structs.replace(ACTIVE, state=MarketState.APPROVED),
        f"the market {MARKET} was APPROVED",
    ),
    "a purchase that is too small": (BuyShares(True, 9_999), ACTIVE, "TradeTooSmall"),
    "a sale of more than there is": (SellShares(True, B, 0), ACTIVE, "InsufficientShares"),
    "a sale below its limit": (SellShares(True, B // 1000, 10**12), ACTIVE, "SlippageExceeded"),
    "a second activation": (ActivateMarket(), ACTIVE, f"the market {MARKET} was ACTIVE"),
    "a vote on an open market": (SubmitProposalVote(True), ACTIVE, f"the market {MARKET} was ACTIVE"),
    "a cancellation of an open market": (CancelMarket(), ACTIVE, f"the market {MARKET} was ACTIVE"),
    "a second resolution": (
        ResolveMarket(True, EVIDENCE),
        msgspec.structs.replace(ACTIVE, state=MarketState.RESOLVING),
        f"the market {MARKET} was RESOLVING",
    ),
    "a second creation": (
        CreateMarket(ID, B, 10**9, EVIDENCE),
        ACTIVE,
        f"the market {MARKET} was there before",
    ),
    "a count without a dispute": (AggregateDisputeVotes(1, 0), ACTIVE, f"the market {MARKET} was ACTIVE"),
    "a dispute that is settled without counts": (
        FinalizeMarket(None, None),
        msgspec.structs.replace(ACTIVE, state=MarketState.DISPUTED, proposed_outcome=True),
        "the dispute was settled without counts",
    ),
    "a claim before the end": (ClaimWinnings(), ACTIVE, f"the market {MARKET} was ACTIVE"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_have_succeeded_is_not_inferred(what: str) -> None:
    instruction, market, reason = REFUSED[what]
    inference = inferred(instruction, market=market)
    assert inference.events == ()
    assert inference.reason == f"call 0 ({type(instruction).__name__}): {reason}"


def test_after_a_contradiction_nothing_of_the_transaction_is_inferred() -> None:
    inference = inferred(BuyShares(True, 10**8), ActivateMarket())
    assert (said(inference), inference.payments) == ([], ())


def test_what_was_logged_otherwise_shows_that_the_start_was_wrong() -> None:
    inference = inferred(BuyShares(True, 10**8), BuyShares(True, 10**8), logged=[BOUGHT])
    assert inference.events == (BOUGHT,)
    assert inference.reason == "call 0 (BuyShares): it was logged otherwise"


def test_of_a_market_that_is_not_known_nothing_is_inferred() -> None:
    inference = inferred(ResolveMarket(True, EVIDENCE), market=None)
    assert inference.events == ()
    assert inference.reason == (
        f"call 0 (ResolveMarket): the market {MARKET} is not known: its creation is not indexed"
    )


def test_why_a_market_is_not_known_is_said() -> None:
    inference = inferred(ResolveMarket(True, EVIDENCE), market=None, missing={MARKET: "it waits"})
    assert inference.reason == f"call 0 (ResolveMarket): the market {MARKET} is not known: it waits"


def test_what_was_logged_of_a_market_that_is_not_known_is_kept() -> None:
    inference = inferred(BuyShares(True, 10**8), market=None, logged=[BOUGHT])
    assert (inference.events, inference.reason) == ((BOUGHT,), None)


def test_an_instruction_without_a_name_here_is_named_as_missing() -> None:
    inference = inferred(None, ResolveMarket(True, EVIDENCE))
    assert "call 0 (NoneType): this version of zmartd does not know the instruction" in str(inference.reason)


def test_after_an_event_that_is_not_known_nothing_of_its_market_is_inferred() -> None:
    calls = [
        call(0, AggregateDisputeVotes(1, 0)),
        call(1, FinalizeMarket(1, 0)),
        call(2, ResolveMarket(True, EVIDENCE), OTHER),
    ]
    disputed = msgspec.structs.replace(ACTIVE, state=MarketState.DISPUTED, proposed_outcome=True)
    known = Known(KnownConfiguration(), {MARKET: disputed, OTHER: ACTIVE})
    inference = infer_events(calls, (), known, {}, AT)
    assert inference.events == (EventRecord(2, RESOLVED),)
    assert inference.reason == (
        "call 0 (AggregateDisputeVotes): the dispute threshold is not known; "
        f"call 1 (FinalizeMarket): the market {MARKET} is not known: call 0 is not known"
    )


UNCONFIGURED: dict[str, tuple[Instruction, str]] = {
    "whether it was paused": (EmergencyPause(), "whether the program was paused is not known"),
    "a time that stays": (
        UpdateGlobalConfig(1, 2, 3, 4, 5, None, 6),
        "the resolution delay before is not known",
    ),
    "another time that stays": (
        UpdateGlobalConfig(1, 2, 3, 4, 5, 6, None),
        "the dispute period before is not known",
    ),
}


@pytest.mark.parametrize("what", UNCONFIGURED)
def test_what_depends_on_a_configuration_that_no_event_tells_is_not_inferred(what: str) -> None:
    instruction, reason = UNCONFIGURED[what]
    inference = infer_events([call(0, instruction, None)], (), Known(KnownConfiguration()), {}, AT)
    assert (inference.events, inference.reason) == ((), f"call 0 ({type(instruction).__name__}): {reason}")


def test_while_paused_nobody_trades() -> None:
    paused = msgspec.structs.replace(INITIAL_CONFIGURATION, is_paused=True)
    inference = inferred(BuyShares(True, 10**8), configuration=paused)
    assert inference.reason == "call 0 (BuyShares): the program was paused"


HOLDING = Holding(10**9, 0, 10**8, 0, 10**8)
CLAIMED = 10**9 * 10**9 // (B // 1000)


def test_a_claim_of_a_wallet_without_a_position_is_not_inferred() -> None:
    inference = inferred(ClaimWinnings(), market=FINAL)
    assert inference.reason == f"call 0 (ClaimWinnings): the position of {USER} is not known"


def test_a_claim_of_nothing_cannot_have_succeeded() -> None:
    loser = Holding(0, 10**9, 10**8, 0, 10**8)
    inference = inferred(ClaimWinnings(), market=FINAL, holdings={(MARKET, USER): loser})
    assert inference.reason == f"call 0 (ClaimWinnings): {USER} had nothing to claim"


@pytest.mark.parametrize(("balance", "paid"), [(890_880, 70), (890_879, 0)])
def test_a_resolver_is_paid_unless_it_would_be_left_below_its_rent(balance: int, paid: int) -> None:
    market = msgspec.structs.replace(FINAL, unpaid_resolver_fees=70)
    flows = {str(RESOLVER): Flow(balance, balance, 0, 0)}
    inference = inferred(ClaimWinnings(), market=market, holdings={(MARKET, USER): HOLDING}, flows=flows)
    assert said(inference) == [events.WinningsClaimed(MARKET, USER, True, CLAIMED, AT)]
    assert sum(payment.lamports for payment in inference.payments) == paid


def withdrawal(left: int, gained: int) -> dict[str, Flow]:
    """What a withdrawal does to the balances of a market and of its creator, who pays the fee."""
    return {str(MARKET): Flow(10**9, 10**9 - left, 0, 0), str(CREATOR): Flow(50, 50 + gained - 5, 5, 0)}


def test_a_withdrawal_is_what_left_the_market_and_reached_its_creator() -> None:
    withdrawn = inferred(WithdrawLiquidity(), market=FINAL, flows=withdrawal(700, 700))
    assert said(withdrawn) == [events.LiquidityWithdrawn(ID, CREATOR, 700, AT)]
    beside = inferred(
        WithdrawLiquidity(),
        ClaimWinnings(),
        market=FINAL,
        holdings={(MARKET, USER): HOLDING},
        flows=withdrawal(700 + CLAIMED, 700),
    )
    assert said(beside)[0] == events.LiquidityWithdrawn(ID, CREATOR, 700, AT)


@pytest.mark.parametrize("flows", [withdrawal(700, 699), withdrawal(699, 700)])
def test_a_withdrawal_beside_which_lamports_moved_unseen_is_not_inferred(flows: dict[str, Flow]) -> None:
    inference = inferred(WithdrawLiquidity(), market=FINAL, flows=flows)
    assert said(inference) == []
    assert "do not agree on what was withdrawn" in str(inference.reason)


def test_two_withdrawals_of_one_transaction_are_not_told_apart() -> None:
    inference = inferred(WithdrawLiquidity(), WithdrawLiquidity(), market=FINAL, flows=withdrawal(7, 7))
    assert said(inference) == []
    assert "cannot be told apart" in str(inference.reason)


def test_without_balances_no_withdrawal_is_inferred() -> None:
    inference = inferred(WithdrawLiquidity(), market=FINAL)
    assert inference.reason == "call 0 (WithdrawLiquidity): the balance of the creator is not known"

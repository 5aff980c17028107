"""What can happen next with a market, in every state and on both sides of every deadline."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from zmartd.market.decisions import Decision
from zmartd.market.lifecycle import MarketState
from zmartd.market.needed_votes import votes_missing
from zmartd.market.next_steps import EXPECTED, Action, PossibleStep, next_steps, why_not
from zmartd.market.situation import BackendRules, ProgramRules, Rules, Situation
from zmartd.market.votes import VoteCounts, VotesSoFar, passes

DAY = 86_400
AT = 1_800_000_000
PERIOD, DELAY, MARGIN, VETO = 3 * DAY, 2 * DAY, 60, DAY
RULES = Rules(
    ProgramRules(proposal_threshold_bps=7_000, dispute_threshold_bps=6_000, dispute_period_seconds=PERIOD),
    BackendRules(
        min_proposal_votes=10,
        proposal_min_balance_lamports=50_000_000,
        dispute_quorum_bps=1_000,
        finalization_delay_seconds=DELAY,
        safety_margin_seconds=MARGIN,
        veto_seconds=VETO,
        trusted_resolvers=("trusted",),
    ),
)
FINAL = AT + PERIOD + MARGIN
ENDS = AT + PERIOD


def so_far(yes: int, no: int, **facts: Any) -> VotesSoFar:
    return VotesSoFar(counts=VoteCounts(yes, no), **facts)


def situation(state: MarketState, **facts: Any) -> Situation:
    base: dict[str, Any] = {"state": state, "creator": "creator", "now": AT, "end": AT + 30 * DAY}
    if state >= MarketState.ACTIVE:
        base["activated_at"] = AT - DAY
    if state in {MarketState.RESOLVING, MarketState.DISPUTED}:
        base |= {"resolution_proposed_at": AT, "resolver": "creator"}
    if state is MarketState.DISPUTED:
        base |= {"resolution_proposed_at": AT - DAY, "dispute_initiated_at": AT}
    return Situation(**base | facts)


PENDING = situation(MarketState.PROPOSED, is_on_chain=False)
RESOLVING, DISPUTED, ACTIVE = MarketState.RESOLVING, MarketState.DISPUTED, MarketState.ACTIVE


def told(step: PossibleStep) -> tuple[Any, ...]:
    by = "+".join(step.by)
    return (step.action.value, by, step.is_open, step.opens_at, step.closes_at, step.missing_seconds)


@pytest.mark.parametrize(
    ("market", "expected"),
    [
        (PENDING, [("create", "creator", True, None, AT + 30 * DAY, None)]),
        (
            situation(MarketState.PROPOSED, is_on_chain=False, now=AT + 30 * DAY),
            [("create", "creator", False, None, AT + 30 * DAY, None)],
        ),
        (
            situation(MarketState.PROPOSED, votes=so_far(8, 2, are_closed=True)),
            [
                ("vote_on_proposal", "voter", False, None, None, None),
                ("approve", "backend", True, None, None, None),
                ("cancel", "admin", True, None, None, None),
            ],
        ),
        (
            situation(DISPUTED, votes=so_far(3, 0, are_known=False)),
            [
                ("vote_on_dispute", "holder", True, None, ENDS, None),
                ("decide", "admin", False, ENDS, None, PERIOD),
            ],
        ),
        (
            situation(MarketState.PROPOSED, votes=so_far(6, 1)),
            [
                ("vote_on_proposal", "voter", True, None, None, None),
                ("approve", "backend", False, None, None, None),
                ("cancel", "admin", True, None, None, None),
            ],
        ),
        (
            situation(MarketState.PROPOSED, votes=so_far(7, 3)),
            [
                ("vote_on_proposal", "voter", True, None, None, None),
                ("approve", "backend", True, None, None, None),
                ("cancel", "admin", True, None, None, None),
            ],
        ),
        (
            situation(
                MarketState.PROPOSED, votes=so_far(6, 1, are_closed=True), awaiting_admin_approval=True
            ),
            [
                ("vote_on_proposal", "voter", False, None, None, None),
                ("approve", "admin", True, None, None, None),
                ("cancel", "admin", True, None, None, None),
            ],
        ),
        (
            situation(MarketState.APPROVED),
            [
                ("activate", "creator+admin", True, None, None, None),
                ("cancel", "admin", True, None, None, None),
            ],
        ),
        (
            situation(ACTIVE, activated_at=AT),
            [
                ("trade", "anybody", True, None, None, None),
                ("resolve", "creator+trusted_resolver", False, AT + 1, None, 1),
            ],
        ),
        (
            situation(ACTIVE, activated_at=AT, now=AT + 1),
            [
                ("trade", "anybody", True, None, None, None),
                ("resolve", "creator+trusted_resolver", True, AT + 1, None, None),
            ],
        ),
        (
            situation(RESOLVING),
            [
                ("request_dispute", "holder", True, None, ENDS, None),
                ("dispute", "anybody", False, AT + 1, ENDS, 1),
                ("finalize", "backend", False, FINAL, None, PERIOD + MARGIN),
            ],
        ),
        (
            situation(RESOLVING, now=ENDS - 1),
            [
                ("request_dispute", "holder", True, None, ENDS, None),
                ("dispute", "anybody", True, AT + 1, ENDS, None),
                ("finalize", "backend", False, FINAL, None, MARGIN + 1),
            ],
        ),
        (
            situation(RESOLVING, now=ENDS, resolver="trusted"),
            [
                ("request_dispute", "holder", False, None, ENDS, None),
                ("dispute", "anybody", False, AT + 1, ENDS, None),
                ("finalize", "backend", False, FINAL, None, MARGIN),
            ],
        ),
        (
            situation(RESOLVING, now=FINAL),
            [
                ("request_dispute", "holder", False, None, ENDS, None),
                ("dispute", "anybody", False, AT + 1, ENDS, None),
                ("finalize", "backend", True, FINAL, None, None),
            ],
        ),
        (
            situation(RESOLVING, now=AT + 1, resolver="stranger"),
            [
                ("request_dispute", "holder", True, None, ENDS, None),
                ("dispute", "anybody", True, AT + 1, ENDS, None),
                ("dispute", "backend", False, AT + PERIOD * 3 // 4, ENDS, PERIOD * 3 // 4 - 1),
                ("decide", "admin", True, None, None, None),
            ],
        ),
        (
            situation(RESOLVING, now=AT + 1, resolver="stranger", decision=Decision.KEEP),
            [
                ("request_dispute", "holder", True, None, ENDS, None),
                ("dispute", "anybody", True, AT + 1, ENDS, None),
                ("finalize", "backend", False, FINAL, None, PERIOD + MARGIN - 1),
            ],
        ),
        (
            situation(RESOLVING, now=AT + 1, resolver="stranger", decision=Decision.REFUND),
            [
                ("request_dispute", "holder", True, None, ENDS, None),
                ("dispute", "anybody", True, AT + 1, ENDS, None),
                ("finalize", "backend", True, None, ENDS, None),
            ],
        ),
        (
            situation(DISPUTED, now=ENDS - 1),
            [
                ("vote_on_dispute", "holder", True, None, ENDS, None),
                ("decide", "admin", False, ENDS, None, 1),
                ("finalize", "backend", False, ENDS + VETO, None, VETO + 1),
            ],
        ),
        (
            situation(DISPUTED, now=ENDS + 5),  # the votes are not counted yet
            [
                ("vote_on_dispute", "holder", False, None, ENDS, None),
                ("decide", "admin", False, ENDS, None, None),
                ("finalize", "backend", False, ENDS + VETO, None, VETO - 5),
            ],
        ),
        (
            situation(DISPUTED, now=ENDS, resolver="stranger"),
            [
                ("vote_on_dispute", "holder", False, None, ENDS, None),
                ("decide", "admin", True, None, None, None),
                ("finalize", "backend", False, ENDS + VETO, None, VETO),
            ],
        ),
        (
            situation(DISPUTED, now=ENDS + 5, settles_at=ENDS + VETO + 5),
            [
                ("vote_on_dispute", "holder", False, None, ENDS, None),
                ("decide", "admin", True, None, ENDS + VETO + 5, None),
                ("finalize", "backend", False, ENDS + VETO + 5, None, VETO),
            ],
        ),
        (
            situation(DISPUTED, now=ENDS + VETO + 5, settles_at=ENDS + VETO + 5),
            [
                ("vote_on_dispute", "holder", False, None, ENDS, None),
                ("decide", "admin", False, None, ENDS + VETO + 5, None),
                ("finalize", "backend", True, ENDS + VETO + 5, None, None),
            ],
        ),
        (
            situation(DISPUTED, now=ENDS, awaiting_decision=True),
            [
                ("vote_on_dispute", "holder", False, None, ENDS, None),
                ("decide", "admin", True, None, None, None),
            ],
        ),
        (
            situation(DISPUTED, now=ENDS, decision=Decision.OVERTURN),
            [
                ("vote_on_dispute", "holder", False, None, ENDS, None),
                ("finalize", "backend", True, None, None, None),
            ],
        ),
        (
            situation(MarketState.FINALIZED),
            [
                ("claim", "winner", True, None, None, None),
                ("withdraw", "creator", True, None, None, None),
            ],
        ),
        (
            situation(MarketState.FINALIZED, is_refunded=True, has_claims=False, is_withdrawn=True),
            [
                ("claim", "holder", False, None, None, None),
                ("withdraw", "creator", False, None, None, None),
            ],
        ),
        (situation(MarketState.CANCELLED), [("withdraw", "creator", True, None, None, None)]),
        (
            situation(MarketState.CANCELLED, is_withdrawn=True),
            [("withdraw", "creator", False, None, None, None)],
        ),
    ],
)
def test_what_can_happen_next(market: Situation, expected: list[tuple[Any, ...]]) -> None:
    assert [told(step) for step in next_steps(market, RULES)] == expected


def test_a_paused_protocol_takes_no_trades_but_outcomes() -> None:
    paused = Rules(ProgramRules(is_paused=True), RULES.backend)
    trade, resolve = next_steps(situation(ACTIVE), paused)
    assert (trade.is_open, resolve.is_open) == (False, True)
    assert resolve.early_before == AT + 30 * DAY


def test_where_each_step_leads_to_and_which_votes_it_needs() -> None:
    leads = {
        (market.state, step.action): step.leads_to
        for market in (situation(state) for state in MarketState)
        for step in next_steps(market, RULES)
    }
    assert {key: state for key, state in leads.items() if state is not None} == {
        (MarketState.PROPOSED, Action.APPROVE): MarketState.APPROVED,
        (MarketState.PROPOSED, Action.CANCEL): MarketState.CANCELLED,
        (MarketState.APPROVED, Action.ACTIVATE): ACTIVE,
        (MarketState.APPROVED, Action.CANCEL): MarketState.CANCELLED,
        (ACTIVE, Action.RESOLVE): RESOLVING,
        (RESOLVING, Action.DISPUTE): DISPUTED,
        (RESOLVING, Action.FINALIZE): MarketState.FINALIZED,
        (DISPUTED, Action.DECIDE): MarketState.FINALIZED,
        (DISPUTED, Action.FINALIZE): MarketState.FINALIZED,
    }
    approve = next_steps(situation(MarketState.PROPOSED, votes=so_far(6, 1)), RULES)[1]
    assert approve.votes is not None
    assert (approve.votes.needed, approve.votes.threshold_bps, approve.votes.missing) == (10, 7_000, 3)
    finalize = next_steps(situation(DISPUTED, votes=so_far(1, 2)), RULES)[2]
    assert finalize.votes is not None
    assert (finalize.votes.in_favour, finalize.votes.against, finalize.votes.quorum_bps) == (1, 2, 1_000)


def test_every_action_is_open_only_in_its_states() -> None:
    for state in MarketState:
        for step in next_steps(situation(state), RULES):
            assert state in EXPECTED[step.action]


def test_a_markets_own_times_are_never_in_the_future() -> None:
    """A chain whose clock was moved is ahead of the index until something is traded there."""
    ahead = situation(RESOLVING, resolution_proposed_at=AT + 9 * DAY, now=AT)
    finalize = next_steps(ahead, RULES)[-1]
    assert finalize.missing_seconds == PERIOD + MARGIN


def test_a_period_without_end_is_shown_as_the_year_9999() -> None:
    rules = Rules(ProgramRules(dispute_period_seconds=2**62), RULES.backend)
    assert next_steps(situation(RESOLVING), rules)[-1].opens_at == 253_402_300_799
    assert "9999-12-31" in why_not(Action.CLAIM, situation(RESOLVING), rules)


def test_a_market_whose_times_are_not_indexed_names_none() -> None:
    for state in (ACTIVE, RESOLVING, DISPUTED):
        bare = Situation(state=state, creator=None, now=AT)
        assert all(step.opens_at is None for step in next_steps(bare, RULES))


@pytest.mark.parametrize(
    ("action", "market", "message"),
    [
        (
            Action.CLAIM,
            situation(RESOLVING),
            "claims open once it is FINALIZED, not before 2027-01-18T08:01:00Z.",
        ),
        (
            Action.CLAIM,
            situation(RESOLVING, resolver="stranger"),
            "claims open once it is FINALIZED.",
        ),
        (
            Action.DISPUTE,
            situation(ACTIVE, now=AT + 3_600),
            "disputes open once it is RESOLVING.",
        ),
        (
            Action.TRADE,
            situation(MarketState.FINALIZED),
            "trades are open only while it is ACTIVE, and it cannot be any more.",
        ),
        (
            Action.ACTIVATE,
            situation(MarketState.PROPOSED),
            "activations open once it is APPROVED.",
        ),
        (
            Action.DISPUTE,
            situation(RESOLVING, now=ENDS),
            "disputes closed at 2027-01-18T08:00:00Z.",
        ),
        (
            Action.DISPUTE,
            situation(RESOLVING),
            "disputes open at 2027-01-15T08:00:01Z.",
        ),
        (
            Action.WITHDRAW,
            situation(ACTIVE),
            "withdrawals open once it is FINALIZED or CANCELLED.",
        ),
        (
            Action.TRADE,
            situation(ACTIVE),
            "trades are open, and were not when this one was tried: try a new one.",
        ),
    ],
)
def test_a_refusal_says_what_the_state_is_and_when_it_will_be_right(
    action: Action, market: Situation, message: str
) -> None:
    assert why_not(action, market, RULES) == f"This market is now {market.state.name}; {message}"


def test_while_the_program_is_paused_no_market_is_created_and_nothing_traded() -> None:
    paused = replace(RULES, program=replace(RULES.program, is_paused=True))
    for market in (PENDING, situation(ACTIVE)):
        assert not next_steps(market, paused)[0].is_open


few = st.integers(0, 12)


@given(yes=few, no=few, yes_by_balance=few, no_by_balance=few, least_balance=st.sampled_from([0, 1]))
def test_the_votes_that_a_proposal_lacks_hold_whoever_holds_the_least_balance(
    yes: int, no: int, yes_by_balance: int, no_by_balance: int, least_balance: int
) -> None:
    backend = replace(RULES.backend, proposal_min_balance_lamports=least_balance)
    votes = so_far(
        yes + yes_by_balance, no + no_by_balance, by_balance=VoteCounts(yes_by_balance, no_by_balance)
    )
    approve = next_steps(situation(MarketState.PROPOSED, votes=votes), replace(RULES, backend=backend))[1]
    told = approve.votes
    assert told is not None
    depending = (yes_by_balance, no_by_balance) if least_balance else (0, 0)
    assert (told.in_favour_by_balance, told.against_by_balance) == depending
    outcomes = [
        votes_missing(VoteCounts(told.in_favour - y, told.against - n), 7_000, 10)
        for y in range(depending[0] + 1)
        for n in range(depending[1] + 1)
    ]
    assert (told.missing, told.missing_at_most) == (outcomes[0], max(one or 0 for one in outcomes))
    assert approve.is_open == passes(told.in_favour, told.against, 7_000, 10)

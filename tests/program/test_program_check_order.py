"""Two things wrong at once: the program names the one that it checks first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from itertools import combinations
from typing import Any

import msgspec
import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests.program.program_chain import ACCOUNT_IN_USE, IDL, PROGRAM, SOL, Chain, with_account
from tests.program.program_world import EVIDENCE_CID, LIQUIDITY, QUESTION_CID, B, World
from tests.program.valid_requests import REQUESTS
from zmartd.chain.accounts import MarketAccount, UserPosition
from zmartd.chain.failure_names import ANCHOR
from zmartd.market.lifecycle import MarketState

S = MarketState
NOT_ENOUGH_LAMPORTS = 1
"""The system program's error."""
CODES = (
    {name: code for code, (name, _) in ANCHOR.items()}
    | {error.name: error.code for error in IDL.errors}
    | {"already in use": ACCOUNT_IN_USE, "not enough lamports": NOT_ENOUGH_LAMPORTS}
)
ACCOUNT_NAMES = {one.name: [account.name for account in one.accounts] for one in IDL.instructions}
MANY_VOTES = 2**32 - 1
STRANGER = Pubkey([8] * 32)

ARGUMENTS: dict[str, dict[str, Any]] = {
    "update_global_config": {
        "protocol_fee_bps": 1,
        "resolver_reward_bps": 2,
        "liquidity_provider_fee_bps": 3,
        "proposal_approval_threshold": 10_000,
        "dispute_success_threshold": 0,
    },
    "create_market": {
        "market_id": bytes([0xAB]) * 32,
        "b_parameter": B,
        "initial_liquidity": LIQUIDITY,
        "ipfs_question_hash": QUESTION_CID,
    },
    "submit_proposal_vote": {"vote": True},
    "submit_dispute_vote": {"vote": True},
    "aggregate_proposal_votes": {"final_likes": 1, "final_dislikes": 1},
    "aggregate_dispute_votes": {"final_agrees": 1, "final_disagrees": 1},
    "buy_shares": {"outcome": True, "target_cost": SOL},
    "sell_shares": {"outcome": True, "shares_to_sell": SOL, "min_proceeds": 0},
    "resolve_market": {"proposed_outcome": True, "ipfs_evidence_hash": EVIDENCE_CID},
    "finalize_market of a dispute": {"dispute_agree": 1, "dispute_disagree": 1},
}


@dataclass
class Attempt:
    """An instruction that lands, until a fault is put into it or into what it finds."""

    world: World
    instruction_name: str
    signer: Keypair
    arguments: dict[str, Any]
    """Its arguments, and the accounts that its caller chooses."""
    misplaced: str | None = None
    """An account in whose place another is given."""

    @property
    def chain(self) -> Chain:
        return self.world.chain

    @property
    def market(self) -> Pubkey:
        address: Pubkey = self.arguments["market"]
        return address

    @property
    def instruction(self) -> Instruction:
        built: Instruction = getattr(PROGRAM, self.instruction_name)(**self.arguments)
        if self.misplaced is None:
            return built
        index = ACCOUNT_NAMES[self.instruction_name].index(self.misplaced)
        old = built.accounts[index]
        return with_account(built, index, AccountMeta(STRANGER, old.is_signer, old.is_writable))


def attempt_at(name: str, world: World) -> Attempt:
    instruction_name = name.split(maxsplit=1)[0]
    request = REQUESTS[instruction_name](world)
    chosen = signature(getattr(PROGRAM, instruction_name)).parameters
    given = zip(ACCOUNT_NAMES[instruction_name], request.instruction.accounts, strict=True)
    accounts = {role: meta.pubkey for role, meta in given if role in chosen}
    if name == "initialize_global_config":
        accounts["backend_authority"] = world.backend.pubkey()
    if name == "finalize_market of a dispute":
        accounts["market"] = world.market(S.DISPUTED).address
    return Attempt(world, instruction_name, request.signer, accounts | ARGUMENTS.get(name, {}))


Fault = Callable[[Attempt], None]


def argument(**arguments: object) -> Fault:
    return lambda attempt: attempt.arguments.update(arguments)


def market(**fields: object) -> Fault:
    def change(attempt: Attempt) -> None:
        found = attempt.chain.read(MarketAccount, attempt.market)
        attempt.chain.write(attempt.market, msgspec.structs.replace(found, **fields))

    return change


def position(**fields: object) -> Fault:
    def change(attempt: Attempt) -> None:
        address = PROGRAM.pdas.position(attempt.market, attempt.signer.pubkey())
        held = attempt.chain.read(UserPosition, address)
        attempt.chain.write(address, msgspec.structs.replace(held, **fields))

    return change


def misplaced(account: str) -> Fault:
    def change(attempt: Attempt) -> None:
        attempt.misplaced = account

    return change


def signed_by_a_stranger(role: str) -> Fault:
    def change(attempt: Attempt) -> None:
        attempt.signer = attempt.chain.wallet()
        attempt.arguments[role] = attempt.signer.pubkey()

    return change


def paused(attempt: Attempt) -> None:
    attempt.world.pause()


def penniless(attempt: Attempt) -> None:
    attempt.chain.give(attempt.signer.pubkey(), 0)


def made_before(attempt: Attempt) -> None:
    attempt.chain.send(attempt.instruction, attempt.signer)


def fees_above_what_is_set_aside(attempt: Attempt) -> None:
    attempt.world.set_fees(2_000, 0, 0)


def emptied(attempt: Attempt) -> None:
    attempt.chain.set_lamports(attempt.market, attempt.chain.rent(attempt.market))


UNAUTHORIZED = ("Unauthorized", signed_by_a_stranger("backend_authority"))
NOT_THE_ADMIN = ("Unauthorized", signed_by_a_stranger("admin"))
TOO_GREAT_A_LOSS = ("BoundedLossExceeded", market(initial_liquidity=2 * B, current_liquidity=B))
TRADING = (
    ("InvalidMarketState", market(state=S.RESOLVING)),
    ("ProtocolPaused", paused),
)

CHECKS: dict[str, tuple[tuple[str, Fault], ...]] = {
    "initialize_global_config": (
        ("ConstraintSeeds", misplaced("global_config")),
        ("already in use", made_before),
    ),
    "update_global_config": (
        NOT_THE_ADMIN,
        ("InvalidFeeStructure", argument(protocol_fee_bps=10_001)),
        ("InvalidThreshold", argument(dispute_success_threshold=10_001)),
        ("InvalidTimeLimit", argument(dispute_period=0)),
    ),
    "emergency_pause": (NOT_THE_ADMIN,),
    "create_market": (
        ("ConstraintSeeds", misplaced("market")),
        ("ProtocolPaused", paused),
        ("InvalidBParameter", argument(b_parameter=0)),
        ("InvalidLiquidity", argument(initial_liquidity=0)),
        ("not enough lamports", penniless),
    ),
    "submit_proposal_vote": (
        ("ConstraintSeeds", misplaced("vote_record")),
        ("InvalidStateForVoting", market(state=S.APPROVED)),
        ("not enough lamports", penniless),
    ),
    "aggregate_proposal_votes": (
        UNAUTHORIZED,
        ("InvalidStateForVoting", market(state=S.APPROVED)),
        ("OverflowError", argument(final_likes=MANY_VOTES, final_dislikes=MANY_VOTES)),
    ),
    "approve_proposal": (
        NOT_THE_ADMIN,
        ("InvalidStateTransition", market(state=S.ACTIVE)),
        ("NoVotesRecorded", market(proposal_total_votes=0)),
        ("InsufficientVotes", market(proposal_likes=0)),
    ),
    "activate_market": (
        ("Unauthorized", signed_by_a_stranger("authority")),
        ("InvalidStateTransition", market(state=S.PROPOSED)),
    ),
    "buy_shares": (
        ("ConstraintSeeds", misplaced("position")),
        ("ConstraintAddress", argument(protocol_fee_wallet=STRANGER)),
        *TRADING,
        ("TradeTooSmall", argument(target_cost=9_999)),
        ("InvalidBParameter", market(b_parameter=1)),
        ("SlippageExceeded", fees_above_what_is_set_aside),
        ("not enough lamports", penniless),
    ),
    "sell_shares": (
        ("ConstraintAddress", argument(protocol_fee_wallet=STRANGER)),
        *TRADING,
        ("InsufficientShares", position(shares_yes=0)),
        ("InsufficientShares", market(shares_yes=0)),
        ("InvalidBParameter", market(b_parameter=1)),
        ("TradeTooSmall", argument(shares_to_sell=1)),
        ("SlippageExceeded", argument(min_proceeds=2**63)),
        ("InsufficientLiquidity", market(current_liquidity=0)),
        ("WouldBreakRentExemption", emptied),
    ),
    "resolve_market": (
        ("InvalidStateTransition", market(state=S.APPROVED)),
        ("AlreadyResolved", market(proposed_outcome=False)),
        ("InvalidTimestamp", market(activated_at=2**62)),
    ),
    "initiate_dispute": (
        ("InvalidStateTransition", market(state=S.DISPUTED)),
        ("DisputePeriodEnded", market(resolution_proposed_at=0)),
    ),
    "submit_dispute_vote": (
        ("ConstraintSeeds", misplaced("vote_record")),
        ("InvalidStateForVoting", market(state=S.RESOLVING)),
        ("not enough lamports", penniless),
    ),
    "aggregate_dispute_votes": (
        UNAUTHORIZED,
        ("InvalidStateForVoting", market(state=S.RESOLVING)),
        ("OverflowError", argument(final_agrees=MANY_VOTES, final_disagrees=MANY_VOTES)),
    ),
    "finalize_market": (
        UNAUTHORIZED,
        ("InvalidStateTransition", market(state=S.ACTIVE)),
        ("NoResolutionProposed", market(proposed_outcome=None)),
        ("DisputePeriodNotEnded", market(resolution_proposed_at=2**62)),
        TOO_GREAT_A_LOSS,
    ),
    "finalize_market of a dispute": (
        UNAUTHORIZED,
        ("NoResolutionProposed", market(proposed_outcome=None)),
        ("NoVotesRecorded", argument(dispute_disagree=None)),
        ("OverflowError", argument(dispute_agree=MANY_VOTES)),
        TOO_GREAT_A_LOSS,
    ),
    "claim_winnings": (
        ("InvalidMarketState", market(state=S.DISPUTED)),
        ("AlreadyClaimed", position(has_claimed=True)),
        ("NoWinnings", position(shares_yes=0)),
        ("InvalidResolver", argument(resolver=STRANGER)),
        ("WouldBreakRentExemption", emptied),
    ),
    "withdraw_liquidity": (
        ("Unauthorized", signed_by_a_stranger("creator")),
        ("InvalidMarketState", market(state=S.RESOLVING)),
        ("InsufficientLiquidity", emptied),
    ),
    "cancel_market": (
        NOT_THE_ADMIN,
        ("CannotCancelMarket", market(state=S.ACTIVE)),
    ),
}
"""The checks of each instruction in its order, each with the fault that fails it."""


@pytest.mark.parametrize("name", CHECKS)
def test_without_a_fault_it_lands(world: World, name: str) -> None:
    attempt = attempt_at(name, world)
    attempt.chain.send(attempt.instruction, attempt.signer)


def pairs() -> list[Any]:
    """(instruction, the faults, the error): each fault alone, and every two."""
    return [
        pytest.param(name, faults, faults[0][0], id=f"{name}-{'-before-'.join(error for error, _ in faults)}")
        for name, checks in CHECKS.items()
        for faults in (*((one,) for one in checks), *combinations(checks, 2))
    ]


@pytest.mark.parametrize(("name", "faults", "error"), pairs())
def test_of_two_faults_the_first_check_names_its_own(
    world: World, name: str, faults: tuple[tuple[str, Fault], ...], error: str
) -> None:
    attempt = attempt_at(name, world)
    for _, make in reversed(faults):
        make(attempt)
    refused = attempt.chain.refusal(attempt.instruction, attempt.signer)
    assert refused.code == CODES[error], refused.logs


def test_every_instruction_has_its_order() -> None:
    assert {name.split()[0] for name in CHECKS} == set(REQUESTS)

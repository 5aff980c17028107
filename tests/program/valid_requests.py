"""One valid request for each of the program's instructions, and what has to come before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from solders.account import Account
from solders.instruction import Instruction
from solders.keypair import Keypair

from tests.program.program_chain import PROGRAM, SOL, SYSTEM_PROGRAM
from tests.program.program_world import (
    DISPUTE_PERIOD_SECONDS,
    EVIDENCE_CID,
    LIQUIDITY,
    QUESTION_CID,
    B,
    World,
)
from zmartd.market.lifecycle import MarketState

_NOTHING = Account(0, b"", SYSTEM_PROGRAM)


@dataclass(frozen=True)
class Request:
    """An instruction that the program accepts now, and who signs it."""

    instruction: Instruction
    signer: Keypair


def initialize_global_config(world: World) -> Request:
    world.chain.runtime.set_account(world.config, _NOTHING)
    instruction = PROGRAM.initialize_global_config(
        admin=world.admin.pubkey(),
        protocol_fee_wallet=world.fee_wallet,
        backend_authority=world.backend.pubkey(),
    )
    return Request(instruction, world.admin)


def update_global_config(world: World) -> Request:
    instruction = PROGRAM.update_global_config(
        admin=world.admin.pubkey(),
        protocol_fee_bps=1,
        resolver_reward_bps=2,
        liquidity_provider_fee_bps=9997,
        proposal_approval_threshold=10_000,
        dispute_success_threshold=0,
        min_resolution_delay=5,
        dispute_period=6,
    )
    return Request(instruction, world.admin)


def emergency_pause(world: World) -> Request:
    return Request(PROGRAM.emergency_pause(admin=world.admin.pubkey()), world.admin)


def create_market(world: World) -> Request:
    creator = world.chain.wallet()
    instruction = PROGRAM.create_market(
        creator=creator.pubkey(),
        market_id=bytes([0xAB]) * 32,
        b_parameter=B,
        initial_liquidity=LIQUIDITY,
        ipfs_question_hash=QUESTION_CID,
    )
    return Request(instruction, creator)


def submit_proposal_vote(world: World) -> Request:
    market, user = world.market(MarketState.PROPOSED), world.chain.wallet()
    return Request(PROGRAM.submit_proposal_vote(user=user.pubkey(), market=market.address, vote=True), user)


def submit_dispute_vote(world: World) -> Request:
    market, user = world.market(MarketState.DISPUTED), world.chain.wallet()
    return Request(PROGRAM.submit_dispute_vote(user=user.pubkey(), market=market.address, vote=False), user)


def aggregate_proposal_votes(world: World) -> Request:
    instruction = PROGRAM.aggregate_proposal_votes(
        backend_authority=world.backend.pubkey(),
        market=world.market(MarketState.PROPOSED).address,
        final_likes=69,
        final_dislikes=31,
    )
    return Request(instruction, world.backend)


def aggregate_dispute_votes(world: World) -> Request:
    instruction = PROGRAM.aggregate_dispute_votes(
        backend_authority=world.backend.pubkey(),
        market=world.market(MarketState.DISPUTED).address,
        final_agrees=6,
        final_disagrees=4,
    )
    return Request(instruction, world.backend)


def approve_proposal(world: World) -> Request:
    market = world.market(MarketState.PROPOSED)
    counts = PROGRAM.aggregate_proposal_votes(
        backend_authority=world.backend.pubkey(), market=market.address, final_likes=7, final_dislikes=3
    )
    world.chain.send(counts, world.backend)
    return Request(PROGRAM.approve_proposal(admin=world.admin.pubkey(), market=market.address), world.admin)


def activate_market(world: World) -> Request:
    market = world.market(MarketState.APPROVED)
    return Request(
        PROGRAM.activate_market(authority=market.creator.pubkey(), market=market.address), market.creator
    )


def buy_shares(world: World) -> Request:
    user = world.chain.wallet()
    instruction = PROGRAM.buy_shares(
        user=user.pubkey(),
        market=world.market(MarketState.ACTIVE).address,
        protocol_fee_wallet=world.fee_wallet,
        outcome=True,
        target_cost=SOL,
    )
    return Request(instruction, user)


def sell_shares(world: World) -> Request:
    market, user = world.market(MarketState.ACTIVE), world.chain.wallet()
    world.buy(market, user, True, 10 * SOL)
    instruction = PROGRAM.sell_shares(
        user=user.pubkey(),
        market=market.address,
        protocol_fee_wallet=world.fee_wallet,
        outcome=True,
        shares_to_sell=SOL,
        min_proceeds=0,
    )
    return Request(instruction, user)


def resolve_market(world: World) -> Request:
    market = world.market(MarketState.ACTIVE)
    world.chain.now += 1
    instruction = PROGRAM.resolve_market(
        resolver=market.resolver.pubkey(),
        market=market.address,
        proposed_outcome=True,
        ipfs_evidence_hash=EVIDENCE_CID,
    )
    return Request(instruction, market.resolver)


def initiate_dispute(world: World) -> Request:
    market, initiator = world.market(MarketState.RESOLVING), world.chain.wallet()
    world.chain.now += 1
    return Request(PROGRAM.initiate_dispute(initiator=initiator.pubkey(), market=market.address), initiator)


def finalize_market(world: World) -> Request:
    market = world.market(MarketState.RESOLVING)
    world.chain.now += DISPUTE_PERIOD_SECONDS
    return Request(
        PROGRAM.finalize_market(backend_authority=world.backend.pubkey(), market=market.address),
        world.backend,
    )


def claim_winnings(world: World) -> Request:
    market, user = world.market(MarketState.ACTIVE), world.chain.wallet()
    world.buy(market, user, True, 10 * SOL)
    world.resolve(market, True)
    world.finalize(market)
    instruction = PROGRAM.claim_winnings(
        user=user.pubkey(), market=market.address, resolver=market.resolver.pubkey()
    )
    return Request(instruction, user)


def withdraw_liquidity(world: World) -> Request:
    market = world.market(MarketState.FINALIZED)
    return Request(
        PROGRAM.withdraw_liquidity(creator=market.creator.pubkey(), market=market.address), market.creator
    )


def cancel_market(world: World) -> Request:
    market = world.market(MarketState.PROPOSED)
    return Request(PROGRAM.cancel_market(admin=world.admin.pubkey(), market=market.address), world.admin)


REQUESTS: dict[str, Callable[[World], Request]] = {
    build.__name__: build
    for build in (
        initialize_global_config,
        update_global_config,
        emergency_pause,
        create_market,
        submit_proposal_vote,
        aggregate_proposal_votes,
        approve_proposal,
        activate_market,
        buy_shares,
        sell_shares,
        resolve_market,
        initiate_dispute,
        submit_dispute_vote,
        aggregate_dispute_votes,
        finalize_market,
        claim_winnings,
        withdraw_liquidity,
        cancel_market,
    )
}

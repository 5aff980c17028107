"""Lives of markets in which every instruction of the program occurs, and logs that lack their events."""

from __future__ import annotations

from collections.abc import Sequence

from solders.compute_budget import set_compute_unit_limit
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests.integration.tasks.world import (
    AUTHORITY,
    CREATOR,
    FORWARDER_ID,
    HOLDERS,
    PROGRAM_ID,
    RESOLVER,
    World,
)
from zmartd.chain.accounts import UserPosition

MEMO_PROGRAM = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
MEMOS = 50
"""So many empty ones before an instruction fill the 10,000 bytes of a transaction's logs, and leave room for
the calls that it makes: the runtime takes 64 in all."""


def behind_memos(instructions: Sequence[Instruction]) -> Sequence[Instruction]:
    """The same effect, without an event of it in the logs."""
    return (set_compute_unit_limit(1_400_000), *[Instruction(MEMO_PROGRAM, b"", [])] * MEMOS, *instructions)


def forwarded(instructions: Sequence[Instruction]) -> Sequence[Instruction]:
    """The same effect, called by another program."""
    return [_forwarded(one) if one.program_id == PROGRAM_ID else one for one in instructions]


def forwarded_behind_memos(instructions: Sequence[Instruction]) -> Sequence[Instruction]:
    return behind_memos(forwarded(instructions))


def _forwarded(instruction: Instruction) -> Instruction:
    target = AccountMeta(instruction.program_id, is_signer=False, is_writable=False)
    return Instruction(FORWARDER_ID, instruction.data, [target, *instruction.accounts])


async def every_instruction(world: World) -> None:
    """A market settled by votes, a cancelled one, one that nobody disputes, and one without an outcome."""
    await settled_by_votes(world)
    await cancelled(world)
    await undisputed(world)
    await without_outcome(world)


async def settled_by_votes(world: World) -> None:
    """Traded under two schedules of fees and over a pause; a dispute turns its outcome round."""
    market_id = await world.proposal()
    market = world.address(market_id)
    for holder, vote in zip(HOLDERS, (True, True, False), strict=False):
        cast = world.program.submit_proposal_vote(user=holder.pubkey(), market=market, vote=vote)
        await world.act(holder, cast)
    await world.approve(market_id)
    await world.act(CREATOR, world.program.activate_market(authority=CREATOR.pubkey(), market=market))
    await world.buy(market_id, HOLDERS[0], 3 * 10**8, outcome=True)
    await world.buy(market_id, HOLDERS[1], 2 * 10**8)
    await world.act(
        AUTHORITY,
        world.program.update_global_config(
            admin=AUTHORITY.pubkey(),
            protocol_fee_bps=100,
            resolver_reward_bps=150,
            liquidity_provider_fee_bps=200,
            proposal_approval_threshold=6_000,
            dispute_success_threshold=5_000,
            dispute_period=200_000,
        ),
    )
    pause = world.program.emergency_pause(admin=AUTHORITY.pubkey())
    await world.act(AUTHORITY, pause)
    await world.act(AUTHORITY, pause, pause, pause)
    await world.buy(market_id, HOLDERS[2], 5 * 10**8)
    await world.sell(market_id, HOLDERS[1], await shares_no(world, market_id, HOLDERS[1]) // 3)
    await world.resolve(market_id, RESOLVER)
    await world.travel(60)
    await world.dispute(market_id)
    for holder, vote in zip(HOLDERS, (True, False), strict=False):
        await world.vote_on_chain(market_id, holder, vote)
    await finalize(world, market_id, 1, 1)
    await claim(world, market_id, HOLDERS[2], RESOLVER)
    await withdraw(world, market_id)
    await claim(world, market_id, HOLDERS[1], RESOLVER)


async def cancelled(world: World) -> None:
    market_id = await world.proposal()
    market = world.address(market_id)
    await world.act(AUTHORITY, world.program.cancel_market(admin=AUTHORITY.pubkey(), market=market))
    await withdraw(world, market_id)


async def undisputed(world: World) -> None:
    """Its creator resolves it, so one wallet gets the resolver's fees and the rest of the pool."""
    market_id = await world.active()
    await world.buy(market_id, HOLDERS[3], 10**8, outcome=True)
    await world.buy(market_id, HOLDERS[4], 10**8)
    await world.resolve(market_id)
    await world.travel(4 * 86_400)
    await finalize(world, market_id)
    await claim(world, market_id, HOLDERS[3], CREATOR)
    await withdraw(world, market_id)


async def without_outcome(world: World) -> None:
    """A dispute succeeds, so that there is another one, which fails; then everybody is paid back."""
    market_id = await world.active()
    await world.buy(market_id, HOLDERS[0], 2 * 10**8, outcome=True)
    await world.buy(market_id, HOLDERS[1], 10**8)
    await world.sell(market_id, HOLDERS[1], await shares_no(world, market_id, HOLDERS[1]) // 2)
    await world.resolve(market_id)
    for initiator, agrees, disagrees in ((HOLDERS[0], 3, 1), (HOLDERS[1], 1, 3)):
        await world.travel(60)
        market = world.address(market_id)
        dispute = world.program.initiate_dispute(initiator=initiator.pubkey(), market=market)
        await world.act(initiator, dispute)
        count = world.program.aggregate_dispute_votes(
            backend_authority=AUTHORITY.pubkey(),
            market=market,
            final_agrees=agrees,
            final_disagrees=disagrees,
        )
        await world.act(AUTHORITY, count)
    for holder in HOLDERS[:2]:
        await claim(world, market_id, holder, CREATOR)
    await withdraw(world, market_id)


async def shares_no(world: World, market_id: str, holder: Keypair) -> int:
    """The NO shares of a wallet, as its account on the chain has them."""
    address = world.program.pdas.position(world.address(market_id), holder.pubkey())
    found = await world.own.rpc.account(address)
    assert found is not None
    return UserPosition.decode(found.data).shares_no


async def finalize(
    world: World, market_id: str, agree: int | None = None, disagree: int | None = None
) -> None:
    finalize = world.program.finalize_market(
        backend_authority=AUTHORITY.pubkey(),
        market=world.address(market_id),
        dispute_agree=agree,
        dispute_disagree=disagree,
    )
    await world.act(AUTHORITY, finalize)


async def claim(world: World, market_id: str, holder: Keypair, resolver: Keypair) -> None:
    market = world.address(market_id)
    await world.act(
        holder,
        world.program.claim_winnings(user=holder.pubkey(), market=market, resolver=resolver.pubkey()),
    )


async def withdraw(world: World, market_id: str) -> None:
    market = world.address(market_id)
    await world.act(CREATOR, world.program.withdraw_liquidity(market=market, creator=CREATOR.pubkey()))

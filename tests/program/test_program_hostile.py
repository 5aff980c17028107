"""Accounts that are the same, richer, poorer or stranger than anybody expects."""

from __future__ import annotations

import pytest
from solders.account import Account
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from tests.program.program_chain import PROGRAM, SOL, SYSTEM_PROGRAM, Refused, error_code
from tests.program.program_world import LIQUIDITY, Market, World
from zmartd.chain.accounts import MarketAccount
from zmartd.chain.events import SharesBought
from zmartd.market import lmsr
from zmartd.market.lifecycle import MarketState

RENT_OF_A_WALLET = 890_880


def final_market(world: World, winner: Keypair) -> Market:
    """YES won; `winner` holds YES."""
    market = world.market()
    world.buy(market, winner, True, 10 * SOL)
    world.resolve(market, True)
    world.finalize(market)
    return market


def held_by(world: World, *addresses: Pubkey) -> int:
    return sum(map(world.chain.lamports, set(addresses)))


def test_one_wallet_may_be_everybody(world: World) -> None:
    one = world.admin
    world.set_fee_wallet(one.pubkey())
    market = world.propose(creator=one)
    market = Market(market.id, market.address, creator=one, resolver=one)
    position = PROGRAM.pdas.position(market.address, one.pubkey())
    total = held_by(world, one.pubkey(), market.address)
    world.approve(market)
    world.activate(market)
    shares = world.buy(market, one, True, 10 * SOL).event.shares
    world.sell(market, one, True, shares // 2)
    world.resolve(market, True)
    world.finalize(market)
    world.claim(market, one)
    world.withdraw(market)
    assert held_by(world, one.pubkey(), market.address, position) == total
    assert world.chain.lamports(market.address) == world.chain.rent(market.address)


@pytest.mark.parametrize("kind", ["market", "global_config", "position"])
def test_the_fee_wallet_may_be_an_account_of_the_program(world: World, kind: str) -> None:
    """A mistaken configuration makes and loses nothing, and damages no account."""
    market, user = world.market(), world.chain.wallet()
    position = PROGRAM.pdas.position(market.address, user.pubkey())
    fee_wallet = {"market": market.address, "global_config": world.config, "position": position}[kind]
    world.set_fee_wallet(fee_wallet)
    accounts = (user.pubkey(), market.address, position, fee_wallet)
    total = held_by(world, *accounts)
    shares = world.buy(market, user, True, 10 * SOL).event.shares
    world.sell(market, user, True, shares // 2)
    assert held_by(world, *accounts) == total
    after = world.read(market)
    held = world.chain.lamports(market.address) - world.chain.rent(market.address)
    own = after.current_liquidity + after.accumulated_resolver_fees + after.accumulated_lp_fees
    assert held == own + (after.accumulated_protocol_fees if kind == "market" else 0)
    assert world.position_of(market, user).shares_yes == shares - shares // 2


def test_lamports_sent_to_a_market_are_the_creators_and_change_no_claim(world: World) -> None:
    winner = world.chain.wallet()
    market = final_market(world, winner)
    at = world.read(market)
    shares = world.position_of(market, winner).shares_yes
    world.chain.set_lamports(market.address, world.chain.lamports(market.address) + 7 * SOL)
    assert world.claim(market, winner).event.amount == shares * at.current_liquidity // at.shares_yes
    wallet = world.chain.lamports(market.creator.pubkey())
    world.withdraw(market)
    assert world.chain.lamports(market.creator.pubkey()) > wallet + 7 * SOL
    assert world.chain.lamports(market.address) == world.chain.rent(market.address)


def test_a_resolver_that_emptied_its_wallet_keeps_no_winner_from_its_winnings(world: World) -> None:
    """Fees too small to keep a wallet alive would fail the whole claim: they wait for a later one."""
    market, first, last = world.market(b=lmsr.MIN_B), world.chain.wallet(), world.chain.wallet()
    for winner in (first, last):
        world.buy(market, winner, True, SOL // 50)
    world.resolve(market, True)
    world.finalize(market)
    resolver, fees = market.resolver.pubkey(), world.read(market).accumulated_resolver_fees
    assert 0 < fees < RENT_OF_A_WALLET
    world.chain.give(resolver, 0)
    world.claim(market, first)
    world.withdraw(market)
    assert (world.chain.lamports(resolver), world.read(market).accumulated_resolver_fees) == (0, fees)
    world.chain.give(resolver, RENT_OF_A_WALLET)
    world.claim(market, last)
    assert world.chain.lamports(resolver) == RENT_OF_A_WALLET + fees
    assert world.read(market).accumulated_resolver_fees == 0


def test_a_resolver_that_became_a_program_keeps_no_winner_from_its_winnings(world: World) -> None:
    winner = world.chain.wallet()
    market = final_market(world, winner)
    program = world.chain.account(PROGRAM.program_id)
    world.chain.runtime.set_account(market.resolver.pubkey(), program)
    wallet, fees = world.chain.lamports(winner.pubkey()), world.read(market).accumulated_resolver_fees
    amount = world.claim(market, winner).event.amount
    assert world.chain.lamports(winner.pubkey()) == wallet + amount
    assert world.chain.account(market.resolver.pubkey()) == program
    assert world.read(market).accumulated_resolver_fees == fees > 0


def test_one_users_position_in_another_market_is_worth_nothing_here(world: World) -> None:
    user = world.chain.wallet()
    rich, poor = world.market(), world.market()
    world.buy(rich, user, True, 100 * SOL)
    world.buy(poor, user, True, SOL)
    sale = PROGRAM.sell_shares(
        user=user.pubkey(),
        market=poor.address,
        protocol_fee_wallet=world.fee_wallet,
        outcome=True,
        shares_to_sell=SOL,
        min_proceeds=0,
    )
    metas = list(sale.accounts)
    metas[2] = type(metas[2])(PROGRAM.pdas.position(rich.address, user.pubkey()), False, True)
    swapped = type(sale)(PROGRAM.program_id, sale.data, metas)
    assert world.chain.refusal(swapped, user).code == 2006


def test_two_instructions_of_one_transaction_see_each_others_effects(world: World) -> None:
    market, user = world.market(), world.chain.wallet()
    at = {"user": user.pubkey(), "market": market.address, "protocol_fee_wallet": world.fee_wallet}
    buying = PROGRAM.buy_shares(outcome=True, target_cost=SOL, **at)
    landed = world.chain.send([buying, buying], user).telling(SharesBought)
    assert landed.events[0].shares > landed.events[1].shares, "the second is dearer"
    position = world.position_of(market, user)
    assert position.shares_yes == sum(bought.shares for bought in landed.events)
    assert position.trades_count == 2


def test_claiming_twice_in_one_transaction_pays_nothing(world: World) -> None:
    winner = world.chain.wallet()
    market = final_market(world, winner)
    claim = PROGRAM.claim_winnings(
        user=winner.pubkey(), market=market.address, resolver=market.resolver.pubkey()
    )
    before = world.chain.account(market.address)
    assert world.chain.refusal([claim, claim], winner).code == error_code("AlreadyClaimed")
    assert world.chain.account(market.address) == before


def test_a_market_without_holders_gives_everything_to_its_creator(world: World) -> None:
    market, seller = world.market(), world.chain.wallet()
    shares = world.buy(market, seller, True, 10 * SOL).event.shares
    world.sell(market, seller, True, shares)
    world.resolve(market, True)
    world.finalize(market)
    with pytest.raises(Refused) as raised:
        world.claim(market, seller)
    assert raised.value.code == error_code("NoWinnings")
    resolver_fees = world.read(market).accumulated_resolver_fees
    assert world.withdraw(market).event.amount > LIQUIDITY
    left = world.chain.lamports(market.address) - world.chain.rent(market.address)
    assert left == resolver_fees, "nobody may take these but the resolver"


def test_an_account_larger_than_its_fields_is_read_and_written_all_the_same(world: World) -> None:
    market = world.market()
    real = world.chain.account(market.address)
    rent = world.chain.runtime.minimum_balance_for_rent_exemption(5000)
    bigger = Account(real.lamports + rent, real.data + b"\xee" * (5000 - len(real.data)), real.owner)
    world.chain.runtime.set_account(market.address, bigger)
    world.resolve(market, True)
    after = world.chain.account(market.address)
    assert MarketAccount.decode(after.data).state == MarketState.RESOLVING
    assert after.data[488:] == b"\xee" * (5000 - 488)


def test_a_market_id_of_any_bytes_is_a_market(world: World) -> None:
    for market_id in (bytes(32), b"\xff" * 32, b"global-config" + bytes(19)):
        creator = world.chain.wallet()
        creation = PROGRAM.create_market(
            creator=creator.pubkey(),
            market_id=market_id,
            b_parameter=1,
            initial_liquidity=1,
            ipfs_question_hash="\0" * 46,
        )
        world.chain.send(creation, creator)
        address = PROGRAM.pdas.market(market_id)
        assert world.chain.read(MarketAccount, address).market_id == market_id
        assert address not in (world.config, SYSTEM_PROGRAM)

"""Quotes against the program that is built: what is promised for a trade is what the trade comes to."""

from __future__ import annotations

import random

import pytest
from solders.account import Account
from solders.keypair import Keypair

from tests.program.program_chain import IDL, PROGRAM, SOL, Refused
from tests.program.program_world import World, configured_world
from zmartd.chain.accounts import UserPosition
from zmartd.market import quotes
from zmartd.market.errors import MarketMathError
from zmartd.market.fees import FeeRates
from zmartd.market.lmsr import Curve
from zmartd.market.quotes import BuyQuote, Pool, Quote

SEED = 1_123
TRADES = 400
HELD_LAMPORTS = 10**16
ERROR_NAMES = {error.code: error.name for error in IDL.errors}
RATES = [FeeRates(300, 200, 500), FeeRates(0, 0, 0), FeeRates(1, 1, 1), FeeRates(700, 0, 299)]


class Exchange:
    """A market at any point of the curve, with a trader who holds all of its shares."""

    def __init__(self) -> None:
        self._world: World = configured_world()
        self._trader: Keypair = self._world.chain.wallet(HELD_LAMPORTS)
        self._market = self._world.market()
        self._world.buy(self._market, self._trader, True, SOL)
        self._world.sell(self._market, self._trader, True, SOL // 10)

    def put(self, pool: Pool) -> None:
        world, curve = self._world, pool.curve
        world.set_fees(pool.rates.protocol_bps, pool.rates.resolver_bps, pool.rates.lp_bps)
        world.change(
            self._market,
            shares_yes=curve.q_yes,
            shares_no=curve.q_no,
            b_parameter=curve.b,
            current_liquidity=HELD_LAMPORTS // 2,
            total_volume=0,
        )
        account = world.chain.account(self._market.address)
        world.chain.runtime.set_account(
            self._market.address, Account(HELD_LAMPORTS, account.data, account.owner)
        )
        position = world.position_of(self._market, self._trader)
        fields = {name: getattr(position, name) for name in UserPosition.__struct_fields__}
        held = {"shares_yes": curve.q_yes, "shares_no": curve.q_no, "total_invested": 0}
        world.chain.write(
            PROGRAM.pdas.position(self._market.address, self._trader.pubkey()), UserPosition(**fields | held)
        )
        world.chain.give(self._trader.pubkey(), HELD_LAMPORTS)

    def buy(self, outcome: bool, target_cost: int) -> tuple[int, int, int]:
        """(shares, what the trader paid, price of YES afterwards) of a purchase that landed."""
        event = self._world.buy(self._market, self._trader, outcome, target_cost).event
        return event.shares, event.cost, event.new_price_yes

    def sell(self, outcome: bool, shares: int, min_proceeds: int) -> tuple[int, int, int]:
        event = self._world.sell(self._market, self._trader, outcome, shares, min_proceeds).event
        return event.shares, event.proceeds, event.new_price_yes


@pytest.fixture(scope="module")
def exchange() -> Exchange:
    return Exchange()


def told(quote: Quote) -> tuple[int, int, int]:
    return quote.shares, quote.total_lamports, quote.price_yes_after


def random_pool(source: random.Random) -> Pool:
    """Curves of every size, from balanced ones to such as are hardly traded on one side."""
    b = int(10 ** source.uniform(11, 14.5))
    first = int(b * source.uniform(0.001, 3))
    second = max(0, first + int(b * source.uniform(-2, 2)))
    return Pool(Curve(first, second, b), source.choice(RATES))


def test_purchases_come_to_what_was_quoted_for_an_amount(exchange: Exchange) -> None:
    source = random.Random(SEED)
    landed = 0
    for _ in range(TRADES):
        pool, outcome = random_pool(source), source.random() < 0.5
        target_cost = int(10 ** source.uniform(3.9, 13))
        exchange.put(pool)
        try:
            quote = quotes.buy_for_cost(pool, outcome, target_cost)
        except MarketMathError as error:
            expected = error.code
            with pytest.raises(Refused) as refused:
                exchange.buy(outcome, target_cost)
            assert ERROR_NAMES[int(refused.value.code)] == expected
            continue
        assert exchange.buy(outcome, target_cost) == told(quote)
        landed += 1
    assert landed > TRADES // 2


def test_the_target_cost_for_shares_is_the_smallest_that_brings_them(exchange: Exchange) -> None:
    source = random.Random(SEED + 1)
    smallest = 0
    for _ in range(TRADES):
        pool, outcome = random_pool(source), source.random() < 0.5
        shares = int(pool.curve.b * 10 ** source.uniform(-5, 0.3))
        try:
            quote: BuyQuote = quotes.buy_for_shares(pool, outcome, shares)
        except MarketMathError:
            continue
        exchange.put(pool)
        assert exchange.buy(outcome, quote.target_cost_lamports) == told(quote)
        assert quote.shares >= shares
        if quote.target_cost_lamports == quotes.MIN_TRADE_LAMPORTS:
            continue
        exchange.put(pool)
        try:
            fewer, _, _ = exchange.buy(outcome, quote.target_cost_lamports - 1)
        except Refused:
            continue
        assert fewer < shares
        smallest += 1
    assert smallest > TRADES // 2


def test_sales_bring_what_was_quoted_and_not_a_lamport_more(exchange: Exchange) -> None:
    source = random.Random(SEED + 2)
    landed = 0
    for _ in range(TRADES):
        pool, outcome = random_pool(source), source.random() < 0.5
        held = pool.curve.q_yes if outcome else pool.curve.q_no
        shares = int(held * source.random()) or 1
        exchange.put(pool)
        try:
            quote = quotes.sell(pool, outcome, shares, 0)
        except MarketMathError as error:
            expected = error.code
            with pytest.raises(Refused) as refused:
                exchange.sell(outcome, shares, 0)
            assert ERROR_NAMES[int(refused.value.code)] == expected
            continue
        with pytest.raises(Refused):
            exchange.sell(outcome, shares, quote.total_lamports + 1)
        assert exchange.sell(outcome, shares, quote.total_lamports) == told(quote)
        landed += 1
    assert landed > TRADES // 2

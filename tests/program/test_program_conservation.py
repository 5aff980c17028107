"""No sequence of trades and payouts makes or loses a lamport, or pays out more than came in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from solders.account import Account
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer

from tests.program.books import Books
from tests.program.program_chain import IDL, PROGRAM, SOL, Refused
from tests.program.program_world import Market, World, configured_world
from zmartd.market import lmsr
from zmartd.market.errors import MarketMathError

ERROR_NAMES = {error.code: error.name for error in IDL.errors}
HOLDERS = ("ann", "ben", "cas", "dee")
SMALLEST_WITHDRAWAL_LAMPORTS = 10_000

T = TypeVar("T")


class End(StrEnum):
    UNDISPUTED = "the proposed outcome"
    KEPT = "the proposed outcome after a dispute"
    FLIPPED = "the other outcome after a dispute"
    NONE = "no outcome"


@dataclass(frozen=True)
class Buy:
    holder: str
    outcome: bool
    thousandths: int
    """The target cost, of b."""


@dataclass(frozen=True)
class Sell:
    choice: int
    """Which of the holdings that there are."""
    thousandths: int
    """Of that holding."""


@dataclass(frozen=True)
class Gift:
    """Lamports that anybody may send to a market's account."""

    holder: str
    lamports: int


@dataclass(frozen=True)
class Life:
    """A market from its opening to its end."""

    b: int
    liquidity: int
    rates: tuple[int, int, int]
    moves: Sequence[Buy | Sell | Gift]
    proposed: bool
    end: End
    exits: Sequence[str]
    """Who claims or withdraws, in this order; "creator" withdraws, possibly several times."""


def upto(largest: int, smallest: int = 1) -> st.SearchStrategy[int]:
    """Amounts of every size, small ones as often as large ones."""
    sizes = st.integers(smallest.bit_length(), largest.bit_length())
    return sizes.flatmap(
        lambda bits: st.integers(max(smallest, 1 << bits >> 1), min(largest, (1 << bits) - 1))
    )


holders = st.sampled_from(HOLDERS)
moves = st.one_of(
    st.builds(Buy, holders, st.booleans(), upto(2_000)),
    st.builds(Buy, holders, st.booleans(), upto(2_000)),
    st.builds(Sell, st.integers(0, 7), st.integers(1, 1_000)),
    st.builds(Sell, st.integers(0, 7), st.just(1_000)),
    st.builds(Gift, holders, upto(SOL)),
)
lives = st.builds(
    Life,
    b=upto(10**14, lmsr.MIN_B),
    liquidity=upto(1_000 * SOL),
    rates=st.sampled_from([(300, 200, 500), (0, 0, 0), (1_000, 0, 0), (333, 333, 334), (1, 999, 0)]),
    moves=st.lists(moves, min_size=1, max_size=25),
    proposed=st.booleans(),
    end=st.sampled_from(End),
    exits=st.permutations([*HOLDERS, "creator", "creator"]),
)


def answer(ask: Callable[[], T]) -> T | str:
    """What somebody answers, or the name of the error with which it refuses."""
    try:
        return ask()
    except MarketMathError as error:
        return error.code
    except Refused as refused:
        return ERROR_NAMES[int(refused.code)]


class Play:
    """One market's life, on the chain and in the books."""

    def __init__(self, world: World, wallets: dict[str, Keypair], life: Life) -> None:
        self._world, self._wallets, self._life = world, wallets, life
        world.set_fees(*life.rates)
        self._books = Books(life.b, life.liquidity, life.rates)
        self._gifts = 0
        self._market = world.propose(b=life.b, liquidity=life.liquidity)
        world.approve(self._market)
        world.activate(self._market)
        self._rent = world.chain.rent(self._market.address)
        self._everything = self._sum()

    def trade(self) -> None:
        for move in self._life.moves:
            match move:
                case Buy(holder, outcome, thousandths):
                    self._buy(holder, outcome, self._life.b * thousandths // 1_000)
                case Sell(choice, thousandths):
                    self._sell(choice, thousandths)
                case Gift(holder, lamports):
                    self._give(holder, lamports)
            self._check_trading()

    def end(self) -> bool | None:
        world, market, proposed = self._world, self._market, self._life.proposed
        world.resolve(market, proposed)
        if self._life.end is not End.UNDISPUTED:
            world.dispute(market)
        match self._life.end:
            case End.UNDISPUTED:
                world.finalize(market)
            case End.KEPT:
                world.finalize(market, 59, 41)
            case End.FLIPPED:
                world.finalize(market, 60, 40)
                proposed = not proposed
            case End.NONE:
                world.finalize_without_outcome(market)
                assert world.read(market).final_outcome is None
                return None
        assert world.read(market).final_outcome is proposed
        return proposed

    def pay(self, outcome: bool | None) -> None:
        """Everybody leaves, in any order: who comes last gets as much as who comes first."""
        books = self._books
        owed = {holder: books.owed(holder, outcome) for holder in HOLDERS}
        assert sum(filter(None, owed.values())) <= books.pool
        held = books.held + self._gifts
        reserved = sum(filter(None, owed.values()))
        resolver, resolver_fees = self._market.resolver.pubkey(), books.resolver_fees
        assert self._held() == held
        for holder in self._life.exits:
            if holder == "creator":
                paid = self._withdraw()
                assert paid <= held - reserved - resolver_fees
            elif (amount := owed[holder]) is None:
                assert self._refusal(holder) == "NoWinnings"
                continue
            else:
                before = self._lamports(resolver)
                assert self._claim(holder) == amount
                assert self._lamports(resolver) == before + resolver_fees
                assert self._refusal(holder) == "AlreadyClaimed"
                reserved -= amount
                paid, resolver_fees = amount + resolver_fees, 0
            held -= paid
            assert self._held() == held >= reserved + resolver_fees
            self._check_sum()
        self._withdraw()
        assert resolver_fees <= self._held() <= resolver_fees + SMALLEST_WITHDRAWAL_LAMPORTS
        self._check_sum()

    def _buy(self, holder: str, outcome: bool, target_cost: int) -> None:
        def land() -> tuple[int, int]:
            bought = self._world.buy(self._market, self._wallets[holder], outcome, target_cost).event
            return bought.cost, bought.shares

        expected = answer(lambda: self._books.buy(holder, outcome, target_cost))
        assert answer(land) == expected
        event(f"bought: {expected if isinstance(expected, str) else 'yes'}")

    def _sell(self, choice: int, thousandths: int) -> None:
        held = [
            (holder, outcome)
            for holder, holding in self._books.holdings.items()
            for outcome in (True, False)
            if holding.of(outcome)
        ]
        if not held:
            return
        holder, outcome = held[choice % len(held)]
        shares = self._books.holdings[holder].of(outcome) * thousandths // 1_000

        def land() -> int:
            proceeds: int = self._world.sell(
                self._market, self._wallets[holder], outcome, shares
            ).event.proceeds
            return proceeds

        expected = answer(lambda: self._books.sell(holder, outcome, shares))
        assert answer(land) == expected
        event(f"sold: {expected if isinstance(expected, str) else 'yes'}")

    def _give(self, holder: str, lamports: int) -> None:
        giver = self._wallets[holder]
        params = TransferParams(from_pubkey=giver.pubkey(), to_pubkey=self._market.address, lamports=lamports)
        self._world.chain.send(transfer(params), giver)
        self._gifts += lamports

    def _claim(self, holder: str) -> int:
        wallet = self._wallets[holder]
        before = self._lamports(wallet.pubkey())
        amount = self._world.claim(self._market, wallet).event.amount
        assert self._lamports(wallet.pubkey()) == before + amount
        return amount

    def _refusal(self, holder: str) -> str:
        """Why a holder cannot claim; one who never bought has no position at all."""
        if holder not in self._books.holdings:
            return "NoWinnings"
        return str(answer(lambda: self._world.claim(self._market, self._wallets[holder])))

    def _withdraw(self) -> int:
        creator = self._market.creator.pubkey()
        before = self._lamports(creator)
        amount = answer(lambda: self._world.withdraw(self._market).event.amount)
        if isinstance(amount, str):
            assert amount == "InsufficientLiquidity"
            return 0
        assert amount > SMALLEST_WITHDRAWAL_LAMPORTS
        assert self._lamports(creator) == before + amount
        return amount

    def _check_trading(self) -> None:
        books, account = self._books, self._world.read(self._market)
        assert self._held() == books.held + self._gifts
        assert (account.shares_yes, account.shares_no) == (books.yes, books.no)
        assert (account.current_liquidity, account.total_volume) == (books.pool, books.volume)
        fees = (
            account.accumulated_protocol_fees,
            account.accumulated_resolver_fees,
            account.accumulated_lp_fees,
        )
        assert fees == (books.protocol_fees, books.resolver_fees, books.lp_fees)
        assert int.from_bytes(account.reserved[8:16], "little") == books.refundable
        for holder, holding in books.holdings.items():
            position = self._world.position_of(self._market, self._wallets[holder])
            assert (position.shares_yes, position.shares_no) == (holding.yes, holding.no)
            assert position.total_invested == holding.invested
            assert int.from_bytes(position.reserved[:8], "little") == holding.returned
        self._check_sum()

    def _check_sum(self) -> None:
        assert self._sum() == self._everything
        assert self._lamports(self._market.address) >= self._rent

    def _sum(self) -> int:
        """All lamports of everybody who has to do with the market."""
        market = self._market
        wallets = [*self._wallets.values(), market.creator, market.resolver, self._world.treasury]
        addresses = [wallet.pubkey() for wallet in wallets] + [market.address]
        addresses += [
            PROGRAM.pdas.position(market.address, wallet.pubkey()) for wallet in self._wallets.values()
        ]
        return sum(map(self._lamports, addresses))

    def _held(self) -> int:
        return self._lamports(self._market.address) - self._rent

    def _lamports(self, address: Pubkey) -> int:
        return self._world.chain.lamports(address)


@pytest.fixture(scope="module")
def stage() -> tuple[World, dict[str, Keypair]]:
    """One chain for all lives: each has a market of its own."""
    world = configured_world()
    return world, {holder: world.chain.wallet(10**17) for holder in HOLDERS}


@settings(max_examples=300)
@given(life=lives)
def test_every_lamport_of_a_market_is_accounted_for(
    stage: tuple[World, dict[str, Keypair]], life: Life
) -> None:
    play = Play(*stage, life)
    play.trade()
    outcome = play.end()
    event(f"ended with {life.end}")
    play.pay(outcome)


def test_a_pool_smaller_than_all_refunds_is_shared_out_alike(world: World) -> None:
    """Fees are gone when the first holder asks; first and last get the same part."""
    market, first, last = traded_market(world)
    world.resolve(market, True)
    world.dispute(market)
    world.finalize_without_outcome(market)
    account = world.read(market)
    invested = [world.position_of(market, user).total_invested for user in (first, last)]
    assert sum(invested) > account.current_liquidity
    expected = [paid * account.current_liquidity // sum(invested) for paid in invested]
    world.withdraw(market)
    assert [world.claim(market, user).event.amount for user in (last, first)] == expected[::-1]


def test_without_winners_the_creator_gets_all_but_the_resolvers_fees(world: World) -> None:
    market, first, _ = traded_market(world)
    world.resolve(market, False)
    world.finalize(market)
    assert answer(lambda: world.claim(market, first)) == "NoWinnings"
    account = world.read(market)
    withdrawn = world.withdraw(market).event.amount
    assert withdrawn == account.current_liquidity + account.accumulated_lp_fees
    left = world.chain.lamports(market.address) - world.chain.rent(market.address)
    assert left == account.accumulated_resolver_fees


def traded_market(world: World) -> tuple[Market, Keypair, Keypair]:
    """A market with next to no liquidity of its own, in which two wallets hold a little YES."""
    market = world.market(b=lmsr.MIN_B, liquidity=1)
    first, last = world.chain.wallet(), world.chain.wallet()
    world.buy(market, first, True, 10_000_000)
    world.buy(market, last, True, 20_000_000)
    return market, first, last


def test_a_market_never_pays_from_what_it_does_not_hold(world: World) -> None:
    """No instruction leads there: sales stop when the pool is empty, whatever the account holds."""
    market, user = world.market(liquidity=1), world.chain.wallet()
    shares = world.buy(market, user, True, SOL).event.shares
    world.change(market, current_liquidity=SOL // 2)
    account = world.chain.account(market.address)
    world.chain.runtime.set_account(market.address, Account(10 * SOL, account.data, account.owner))
    assert answer(lambda: world.sell(market, user, True, shares)) == "InsufficientLiquidity"

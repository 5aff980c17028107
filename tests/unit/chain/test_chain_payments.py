from __future__ import annotations

import pytest
from solders.pubkey import Pubkey

from zmartd.chain.events import LiquidityWithdrawn, ProgramEvent, WinningsClaimed
from zmartd.chain.payments import ResolverPayment, resolver_payments

MARKET, OTHER, USER = Pubkey.new_unique(), Pubkey.new_unique(), Pubkey.new_unique()
KEYS = [str(USER), str(MARKET), str(OTHER)]


def claim(market: Pubkey, amount: int) -> WinningsClaimed:
    return WinningsClaimed(market, USER, True, amount, 0)


def test_what_left_a_market_beyond_its_claims_went_to_the_resolver() -> None:
    paid = resolver_payments([claim(MARKET, 70)], KEYS, [0, 1_000, 5], [70, 900, 5])
    assert paid == (ResolverPayment(MARKET, 30),)


def test_a_claim_that_pays_no_resolver_is_no_payment() -> None:
    assert resolver_payments([claim(MARKET, 100)], KEYS, [0, 1_000, 5], [100, 900, 5]) == ()


def test_each_market_of_a_transaction_is_counted_on_its_own() -> None:
    claims = [claim(MARKET, 10), claim(OTHER, 20), claim(MARKET, 5)]
    assert resolver_payments(claims, KEYS, [0, 100, 100], [35, 84, 80]) == (ResolverPayment(MARKET, 1),)


def test_a_withdrawal_beside_a_claim_is_no_payment() -> None:
    events: list[ProgramEvent] = [claim(MARKET, 10), LiquidityWithdrawn(b"\1" * 32, USER, 50, 0)]
    assert resolver_payments(events, KEYS, [0, 100, 0], [60, 40, 0]) == ()


def test_without_claims_no_balances_are_needed() -> None:
    assert resolver_payments([], KEYS, [], []) == ()


@pytest.mark.parametrize(("keys", "balances"), [([str(USER)], [1]), (KEYS, [])])
def test_without_the_market_s_balances_no_payment_is_known(keys: list[str], balances: list[int]) -> None:
    assert resolver_payments([claim(MARKET, 10)], keys, balances, balances) == ()

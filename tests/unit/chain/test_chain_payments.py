from __future__ import annotations

from solders.pubkey import Pubkey

from zmartd.chain.events import LiquidityWithdrawn, ProgramEvent, WinningsClaimed
from zmartd.chain.flows import Flow
from zmartd.chain.payments import ResolverPayment, resolver_payments
from zmartd.chain.pdas import Pdas

PDAS = Pdas(Pubkey.new_unique())
MARKET_ID, OTHER_ID = b"\1" * 32, b"\2" * 32
MARKET, OTHER, USER = PDAS.market(MARKET_ID), PDAS.market(OTHER_ID), Pubkey.new_unique()


def claim(market: Pubkey, amount: int) -> WinningsClaimed:
    return WinningsClaimed(market, USER, True, amount, 0)


def withdrawal(market_id: bytes, amount: int) -> LiquidityWithdrawn:
    return LiquidityWithdrawn(market_id, USER, amount, 0)


def payments(
    events: list[ProgramEvent], left: dict[Pubkey, int], gifts: dict[Pubkey, int] | None = None
) -> dict[Pubkey, int]:
    """What was paid to the resolvers of markets that lost `left` lamports and were given `gifts`."""
    flows = {
        str(market): Flow(10**9, 10**9 - lamports + gift, 0, gift)
        for market, lamports in left.items()
        for gift in [(gifts or {}).get(market, 0)]
    }
    found = resolver_payments(events, flows, PDAS)
    assert all(isinstance(one, ResolverPayment) for one in found)
    return {one.market: one.lamports for one in found}


def test_what_left_a_market_beyond_its_claims_went_to_the_resolver() -> None:
    assert payments([claim(MARKET, 70)], {MARKET: 100}) == {MARKET: 30}


def test_a_claim_that_pays_no_resolver_is_no_payment() -> None:
    assert payments([claim(MARKET, 100)], {MARKET: 100}) == {}


def test_each_market_of_a_transaction_is_counted_on_its_own() -> None:
    claims: list[ProgramEvent] = [claim(MARKET, 10), claim(OTHER, 20), claim(MARKET, 5)]
    assert payments(claims, {MARKET: 16, OTHER: 20}) == {MARKET: 1}


def test_a_gift_in_the_transaction_hides_no_payment() -> None:
    for gift in (29, 30, 31, 10**6):
        assert payments([claim(MARKET, 70)], {MARKET: 100}, {MARKET: gift}) == {MARKET: 30}
        assert payments([claim(MARKET, 70)], {MARKET: 70}, {MARKET: gift}) == {}


def test_a_withdrawal_beside_a_claim_is_no_payment() -> None:
    assert payments([claim(MARKET, 10), withdrawal(MARKET_ID, 50)], {MARKET: 60}) == {}


def test_a_withdrawal_from_another_market_hides_no_payment() -> None:
    events: list[ProgramEvent] = [claim(MARKET, 10), withdrawal(OTHER_ID, 50)]
    assert payments(events, {MARKET: 17, OTHER: 50}) == {MARKET: 7}


def test_without_the_market_s_balances_no_payment_is_known() -> None:
    assert payments([], {}) == {}
    assert payments([claim(MARKET, 10)], {}) == {}

"""Protections: read by every daemon with the secret, and by nobody who has changed them."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmartd.market.orders import Purchase, Sale
from zmartd.transactions.price_protection import MAX_LENGTH, InvalidProtection, Protection, Protections

OLD, NEW = "an old secret" * 3, "a new secret" * 3
OF_A_PURCHASE = Protection(b"k" * 32, Purchase(outcome=True, shares=2**64 - 1, max_cost=2**64 - 1), 2**64 - 1)
OF_A_SALE = Protection(b"k" * 32, Sale(outcome=False, shares=1, min_proceeds=0), None)


@pytest.mark.parametrize("protection", [OF_A_PURCHASE, OF_A_SALE])
def test_a_protection_is_read_by_daemons_with_the_same_secret_and_during_its_rotation(
    protection: Protection,
) -> None:
    text = Protections([OLD], "here").seal(protection)
    assert len(text) < MAX_LENGTH
    for secrets in ([OLD], [NEW, OLD]):
        assert Protections(secrets, "here").open(text) == protection
    for secrets, audience in (([NEW], "here"), ([OLD], "elsewhere")):
        with pytest.raises(InvalidProtection):
            Protections(secrets, audience).open(text)


@given(st.integers(0), st.integers(1, 255))
def test_a_protection_with_a_changed_byte_is_none(place: int, change: int) -> None:
    protections = Protections([OLD], "here")
    raw = bytearray(base64.urlsafe_b64decode(protections.seal(OF_A_PURCHASE)))
    raw[place % len(raw)] ^= change
    with pytest.raises(InvalidProtection):
        protections.open(base64.urlsafe_b64encode(raw).decode())


@given(st.text())
def test_no_other_text_is_a_protection(text: str) -> None:
    with pytest.raises(InvalidProtection):
        Protections([OLD], "here").open(text)

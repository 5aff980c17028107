from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.signing_wallet import SigningWallet
from zmartd.http.auth.signatures import decode_signature, require_signature
from zmartd.http.errors.auth import BadSignature
from zmartd.market.ids import base58_encode

WALLET = SigningWallet(1)


@given(st.binary(min_size=64, max_size=64))
def test_a_signature_is_read_in_base58_and_in_base64(raw: bytes) -> None:
    assert decode_signature(base58_encode(raw)) == raw
    assert decode_signature(base64.b64encode(raw).decode()) == raw


@given(st.binary(max_size=80).filter(lambda raw: len(raw) != 64))
def test_a_signature_of_another_length_is_refused(raw: bytes) -> None:
    for text in (base58_encode(raw), base64.b64encode(raw).decode()):
        with pytest.raises(BadSignature):
            decode_signature(text)


@pytest.mark.parametrize("text", ["", "==", "0OIl", "é" * 88, "\ud800" * 88, " " + "1" * 63, "1" * 100_000])
def test_text_that_is_not_a_signature_is_refused(text: str) -> None:
    with pytest.raises(BadSignature):
        decode_signature(text)


def test_base64_with_stray_bits_at_its_end_is_refused() -> None:
    canonical = base64.b64encode(bytes(64)).decode()
    assert canonical.endswith("AA==")
    with pytest.raises(BadSignature):
        decode_signature(canonical.replace("AA==", "AB=="))


def test_the_signature_has_to_be_of_this_wallet_and_of_exactly_these_bytes() -> None:
    signature = WALLET.sign("a text")
    require_signature(WALLET.address, b"a text", signature)
    with pytest.raises(BadSignature):
        require_signature(WALLET.address, b"a text ", signature)
    with pytest.raises(BadSignature):
        require_signature(SigningWallet(2).address, b"a text", signature)


@pytest.mark.parametrize("place", [0, 31, 32, 63])
def test_a_signature_with_one_bit_flipped_is_refused(place: int) -> None:
    signature = bytearray(WALLET.sign("a text"))
    signature[place] ^= 1
    with pytest.raises(BadSignature):
        require_signature(WALLET.address, b"a text", bytes(signature))


def test_the_neutral_point_signs_nothing() -> None:
    """With this key and signature a naive verifier accepts every message."""
    neutral = bytes([1]) + bytes(31)
    with pytest.raises(BadSignature):
        require_signature(base58_encode(neutral), b"anything", neutral + bytes(32))


def test_an_address_off_the_curve_signs_nothing() -> None:
    off_curve = base58_encode(bytes([2]) + bytes(31))
    with pytest.raises(BadSignature):
        require_signature(off_curve, b"a text", WALLET.sign("a text"))

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.signing_wallet import SigningWallet
from zmartd.errors import ZmartdError
from zmartd.http.auth import legacy_header
from zmartd.http.errors.auth import AuthExpired, BadMessage, BadSignature

WALLET = SigningWallet(1)
NOW = 1_772_366_400.25
MESSAGE = f"Sign in to ZMART\nTimestamp: {int(NOW * 1000)}"


def credentials(message: str = MESSAGE, signer: SigningWallet = WALLET, wallet: str = WALLET.address) -> str:
    signature = signer.sign_base58(message)
    return f"message={quote(message, safe='')}&signature={signature}&wallet={wallet}"


def at(milliseconds: float) -> str:
    return credentials(f"Sign in to ZMART\nTimestamp: {int(NOW * 1000 + milliseconds)}")


def test_the_header_of_the_earlier_frontend_names_its_wallet() -> None:
    assert legacy_header.verify(credentials(), NOW) == (WALLET.address, NOW)


def test_its_parts_may_come_in_any_order() -> None:
    parts = credentials().split("&")
    assert legacy_header.verify("&".join(reversed(parts)), NOW) == (WALLET.address, NOW)


def test_the_header_is_valid_for_an_hour_and_five_minutes_ahead() -> None:
    assert legacy_header.verify(at(-3_600_000), NOW) == (WALLET.address, NOW - 3_600)
    assert legacy_header.verify(at(300_000), NOW) == (WALLET.address, NOW + 300)
    for wrong in (at(-3_600_001), at(300_001)):
        with pytest.raises(AuthExpired):
            legacy_header.verify(wrong, NOW)


@pytest.mark.parametrize(
    "message",
    [
        MESSAGE + " ",
        MESSAGE + "\n",
        "x" + MESSAGE,
        MESSAGE.replace("\n", "\r\n"),
        MESSAGE.replace("ZMART", "ZMART!"),
        "Sign in to ZMART\nTimestamp: 177236640025",
        f"Pay everything. Sign in to ZMART\nTimestamp: {int(NOW * 1000)}",
        "Sign in to ZMART\nTimestamp: ١٧٧٢٣٦٦٤٠٠٢٥٠",
    ],
)
def test_any_other_text_that_the_wallet_once_signed_is_refused(message: str) -> None:
    with pytest.raises(BadMessage):
        legacy_header.verify(credentials(message), NOW)


def test_the_wallet_has_to_be_the_one_that_signed() -> None:
    with pytest.raises(BadSignature):
        legacy_header.verify(credentials(wallet=SigningWallet(2).address), NOW)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "&&",
        credentials() + "&wallet=" + WALLET.address,
        credentials().replace("wallet=", "purse="),
        credentials().rsplit("&", 1)[0],
        "message=%ff&signature=1&wallet=1",
        "message=&signature=&wallet=",
        credentials() + "a" * 2_000,
    ],
)
def test_a_header_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(BadMessage):
        legacy_header.verify(text, NOW)


@given(st.text(alphabet=st.characters(codec=None), max_size=200))
def test_no_header_breaks_the_reader(text: str) -> None:
    for candidate in (text, f"message={text}&signature={text}&wallet={text}"):
        with pytest.raises(ZmartdError):
            legacy_header.verify(candidate, NOW)

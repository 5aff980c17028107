from __future__ import annotations

import json

import pytest

from zmartd.store.postgres.rls import ANYBODY, Caller, begin_as

WALLET = "7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS"


def test_a_wallet_acts_as_authenticated_with_itself_in_the_claims() -> None:
    caller = Caller(WALLET)

    assert caller.role == "authenticated"
    assert json.loads(caller.claims) == {"role": "authenticated", "sub": WALLET, "walletAddress": WALLET}


def test_anybody_acts_as_anon_without_a_wallet() -> None:
    assert ANYBODY.role == "anon"
    assert json.loads(ANYBODY.claims) == {"role": "anon"}


@pytest.mark.parametrize(
    "text",
    ["", "'; drop table markets; --", WALLET + "'", WALLET[:-1] + "\\", WALLET + WALLET, "0" * 43, "é" * 43],
)
def test_what_is_no_address_is_no_caller(text: str) -> None:
    with pytest.raises(ValueError, match="wallet must be"):
        Caller(text)


def test_a_caller_brings_its_own_quotes_and_no_others() -> None:
    assert begin_as(Caller(WALLET)).count("'") == 2
    assert begin_as(ANYBODY).count("'") == 2

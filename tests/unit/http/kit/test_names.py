from __future__ import annotations

from typing import Annotated, ClassVar

import pytest
from msgspec import Meta, Struct

from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit.codec import decode_body
from zmartd.http.kit.earlier_names import CREDENTIALS
from zmartd.http.kit.names import MAX_PROBLEMS, NoFields, Place, nearest, read_names
from zmartd.http.kit.validation import from_text

Text = Annotated[str, Meta(description="a text")]


class Filters(Struct, frozen=True, kw_only=True):
    ALIASES: ClassVar[dict[str, str]] = {"user_wallet": "wallet"}

    market_id: Text = ""
    state: Text = ""
    creator: Text = ""
    wallet: Text = ""
    limit: Annotated[int, Meta(ge=0, description="a number")] = 20
    cursor: Text = ""


TAKEN = "It takes market_id, state, creator, wallet, limit, cursor"


def problems(*pairs: tuple[str, str]) -> list[Problem]:
    return read_names(Filters, pairs, Place.QUERY)[2]


def refused(body: str) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        decode_body(body.encode(), Filters, CREDENTIALS)
    return [(problem.field, problem.message) for problem in caught.value.details]


def test_a_name_with_a_word_in_common_is_near_enough() -> None:
    assert nearest("min_payout", ["shares", "min_proceeds", "slippage_bps"]) == "min_proceeds"
    assert nearest("min_payout", ["shares", "minimum", "slippage_bps"]) is None


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("next_cursor", "cursor"),
        ("status", "state"),
        ("Limit", "limit"),
        ("limti", "limit"),
        ("marketid", "market_id"),
        ("MARKET_ID", "market_id"),
        ("userwallet", "wallet"),
    ],
)
def test_a_misspelt_parameter_names_the_nearest_right_one(name: str, meant: str) -> None:
    assert problems((name, "x")) == [
        Problem(name, f"is not a parameter of this route; did you mean {meant}? {TAKEN}")
    ]
    assert refused(f'{{"{name}": "x"}}') == [
        (name, f"is not a field of this body; did you mean {meant}? {TAKEN}")
    ]


def test_what_resembles_none_names_those_that_there_are() -> None:
    for name in ("_", "utm_source", "", "ß"):
        [problem] = problems((name, "x"))
        assert problem.message == (
            "is not a parameter of this route, which takes market_id, state, creator, wallet, limit, cursor"
        )
    assert read_names(NoFields, [("a", "")], Place.QUERY)[2] == [
        Problem("a", "is not a parameter of this route, which takes none")
    ]


def test_a_parameter_is_given_once_under_whatever_name() -> None:
    assert problems(("limit", "1"), ("limit", "1")) == [Problem("limit", "must be given once, as limit")]
    assert problems(("marketId", "a"), ("market_id", "b"), ("marketId", "c")) == [
        Problem("market_id", "must be given once, as market_id or marketId")
    ]


@pytest.mark.parametrize(
    ("body", "field", "names"),
    [
        ('{"limit": 1, "limit": 1}', "limit", "limit"),
        ('{"limit": 1, "\\u006cimit": 2}', "limit", "limit"),
        ('{"marketId": "a", "market_id": "a"}', "market_id", "market_id or marketId"),
        ('{"user_wallet": "a", "wallet": null}', "wallet", "wallet or user_wallet"),
        ('{"wallet": "a", "cursor": "{\\"a\\": 1}", "wallet": "b"}', "wallet", "wallet or user_wallet"),
    ],
)
def test_a_field_of_a_body_is_given_once_under_whatever_name(body: str, field: str, names: str) -> None:
    assert refused(body) == [(field, f"must be given once, as {names}")]


def test_what_earlier_clients_prove_themselves_with_is_let_through_where_it_is_no_field() -> None:
    body = b'{"message": "m", "signature": 1, "_auth": {"a": 1, "a": 2}, "timestamp": 3, "cursor": "c"}'
    assert decode_body(body, Filters, CREDENTIALS) == Filters(cursor="c")
    assert refused('{"wallet": 5, "message": "m"}') == [("wallet", "must be a text")]
    with pytest.raises(InvalidRequest, match="message is not a field of this body"):
        decode_body(body, Filters)


def test_each_name_stands_for_its_field() -> None:
    assert read_names(Filters, [("marketId", "a"), ("user_wallet", "b"), ("limit", "")], Place.QUERY) == (
        {"market_id": "a", "wallet": "b", "limit": ""},
        {"market_id": "marketId", "wallet": "user_wallet", "limit": "limit"},
        [],
    )


def test_names_and_values_are_complained_of_together() -> None:
    values, given, found = read_names(Filters, [("limit", "many"), ("offset", "0")], Place.QUERY)
    with pytest.raises(InvalidRequest) as caught:
        from_text(Filters, values, given, found)
    assert [problem.field for problem in caught.value.details] == ["offset", "limit"]
    assert [field for field, _ in refused('{"limit": -1, "offset": 0}')] == ["offset", "limit"]


def test_an_invalid_value_is_complained_of_under_the_name_that_it_was_given_by() -> None:
    assert [field for field, _ in refused('{"user_wallet": 5, "limit": -1}')] == ["user_wallet", "limit"]


def test_of_made_up_names_few_are_named_and_no_long_ones() -> None:
    names = [f"{'market_id' * 100}{number}" for number in range(8_000)]
    found = problems(*((name, "") for name in names))
    assert len(found) == 1
    assert len(problems(*((f"a{number}", "") for number in range(8_000)))) == MAX_PROBLEMS
    assert all(len(problem.field) <= 64 for problem in found)

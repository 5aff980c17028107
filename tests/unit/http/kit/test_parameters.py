from __future__ import annotations

from typing import Annotated, ClassVar

import pytest
from msgspec import Meta, Struct

from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit.parameters import MAX_PROBLEMS, NoParameters, read_parameters
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
    return read_parameters(Filters, pairs)[1]


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


def test_what_resembles_none_names_those_that_there_are() -> None:
    for name in ("_", "utm_source", "", "ß"):
        [problem] = problems((name, "x"))
        assert problem.message == (
            "is not a parameter of this route, which takes market_id, state, creator, wallet, limit, cursor"
        )
    assert read_parameters(NoParameters, [("a", "")])[1] == [
        Problem("a", "is not a parameter of this route, which takes none")
    ]


def test_a_parameter_is_given_once_under_whatever_name() -> None:
    assert problems(("limit", "1"), ("limit", "1")) == [Problem("limit", "must be given once, as limit")]
    assert problems(("marketId", "a"), ("market_id", "b"), ("marketId", "c")) == [
        Problem("market_id", "must be given once, as market_id or marketId")
    ]


def test_each_name_stands_for_its_field() -> None:
    assert read_parameters(Filters, [("marketId", "a"), ("user_wallet", "b"), ("limit", "")]) == (
        {"market_id": "a", "wallet": "b", "limit": ""},
        [],
    )


def test_names_and_values_are_complained_of_together() -> None:
    values, found = read_parameters(Filters, [("limit", "many"), ("offset", "0")])
    with pytest.raises(InvalidRequest) as refused:
        from_text(Filters, values, found)
    assert [problem.field for problem in refused.value.problems] == ["offset", "limit"]


def test_of_made_up_names_few_are_named_and_no_long_ones() -> None:
    names = [f"{'market_id' * 100}{number}" for number in range(8_000)]
    found = problems(*((name, "") for name in names))
    assert len(found) == 1
    assert len(problems(*((f"a{number}", "") for number in range(8_000)))) == MAX_PROBLEMS
    assert all(len(problem.field) <= 64 for problem in found)

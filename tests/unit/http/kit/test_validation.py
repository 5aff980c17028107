from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import pytest
from msgspec import Meta, Struct

from zmartd.http.errors.requests import InvalidRequest, Problem
from zmartd.http.kit import validation
from zmartd.http.kit.fields import U64, Category, DateTime, MarketRef, State, Wallet, price
from zmartd.market.iso_time import iso_time
from zmartd.market.lifecycle import MarketState

MARKET_ID = "ab" * 32
ADDRESS = "7h3gXfBfYFueFVLYyfL5Qo1QGsf4GQUfW96FKVgnUsJS"


class Order(Struct, frozen=True, kw_only=True):
    market_id: Annotated[MarketRef, Meta(description="a market")]
    shares: Annotated[U64, Meta(description="a whole number")]
    note: Annotated[str, Meta(max_length=3, description="a text of at most 3 characters")] = ""


class Page(Struct, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=0, le=100, description="a number from 0 to 100")] = 20
    offset: Annotated[Annotated[int, Meta(ge=0)] | None, Meta(description="a number")] = None
    word: Annotated[str | None, Meta(description="a text")] = None


def test_all_invalid_fields_are_reported_at_once() -> None:
    with pytest.raises(InvalidRequest) as refused:
        validation.from_json(Order, {"shares": -1, "note": "long"})

    assert refused.value.details == (
        Problem("market_id", "is required: a market"),
        Problem("shares", "must be a whole number"),
        Problem("note", "must be a text of at most 3 characters"),
    )
    assert refused.value.message == (
        "market_id is required: a market; shares must be a whole number; "
        "note must be a text of at most 3 characters."
    )


def test_null_means_absent() -> None:
    order = validation.from_json(Order, {"market_id": MARKET_ID, "shares": 1, "note": None})
    assert order == Order(market_id=MarketRef(MARKET_ID), shares=U64(1))


@pytest.mark.parametrize("amount", [18_446_744_073_709_551_615, "18446744073709551615"])
def test_an_amount_is_a_number_or_a_decimal_string(amount: object) -> None:
    assert validation.from_json(Order, {"market_id": MARKET_ID, "shares": amount}).shares == 2**64 - 1


@pytest.mark.parametrize(
    "amount", [True, 1.0, "1.0", "-1", " 1", "٣", "18446744073709551616", 2**64, "9" * 5000, [1], {}]
)
def test_anything_else_is_not_an_amount(amount: object) -> None:
    with pytest.raises(InvalidRequest):
        validation.from_json(Order, {"market_id": MARKET_ID, "shares": amount})


@pytest.mark.parametrize("reference", ["", "market-1-2", "AB" * 31, ADDRESS + "1", 5, "0" * 44])
def test_a_market_reference_is_an_id_or_an_address(reference: object) -> None:
    with pytest.raises(InvalidRequest):
        validation.from_json(Order, {"market_id": reference, "shares": 1})


def test_a_market_id_may_be_written_in_upper_case() -> None:
    assert MarketRef.parse("AB" * 32) == MARKET_ID


def test_values_are_plain_texts_and_numbers() -> None:
    order = validation.from_json(Order, {"market_id": MARKET_ID, "shares": "1"})
    assert (type(order.market_id), type(order.shares)) == (str, int)


def test_query_text_becomes_numbers_within_their_bounds() -> None:
    assert validation.from_text(Page, {"limit": "0"}).limit == 0
    for limit in ("101", "-1", "many", "", "1e1", "2.0", "02", "+5", " 5", "5 ", "\u0665", "null", "1_0"):
        with pytest.raises(InvalidRequest):
            validation.from_text(Page, {"limit": limit})
        with pytest.raises(InvalidRequest):
            validation.from_text(Page, {"offset": limit.replace("101", "-1")})


def test_null_in_a_query_is_a_word_and_no_absence() -> None:
    assert validation.from_text(Page, {"word": "null"}).word == "null"


@pytest.mark.parametrize("text", ["2", "active", "ACTIVE", 2])
def test_a_state_is_a_name_or_a_number(text: object) -> None:
    assert int(State.parse(text)) == MarketState.ACTIVE


@pytest.mark.parametrize("text", ["7", "", "٢", "open", "-1", None])
def test_other_states_do_not_exist(text: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any refusal will do
        State.parse(text)


def test_tech_is_technology() -> None:
    assert Category.parse("tech") == "technology"
    assert Category.parse("Sports") == "sports"


def test_a_time_needs_an_offset() -> None:
    assert DateTime.parse("2027-01-31T13:00:00+01:00") == datetime(2027, 1, 31, 12, tzinfo=UTC)
    assert DateTime.parse("2027-01-31T12:00:00.000Z") == datetime(2027, 1, 31, 12, tzinfo=UTC)
    assert DateTime.parse("2027-01-31t12:00:00.0000009z") == datetime(2027, 1, 31, 12, tzinfo=UTC)
    for text in (
        "2027-01-31T12:00:00",
        "tomorrow",
        1700000000,
        "9999-99-99T00:00:00Z",
        "2026-W51-7T00:00:00Z",
        "20261220T000000Z",
        "2026-12-20 00:00:00Z",
        "2026-12-20T00:00Z",
        "2026-12-20T24:00:00Z",
        "2026-12-20T00:00:00+24:00",
        "2026-12-20T00:00:00+0100",
        "2026-12-20T00:00:00+01:00:30",
        "2026-12-20T00:00:00,5Z",
        "\u0662026-12-20T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
    ):
        with pytest.raises((ValueError, OverflowError)):
            DateTime.parse(text)


def test_a_wallet_is_32_bytes_of_base58() -> None:
    assert Wallet.parse(ADDRESS) == ADDRESS
    for text in (ADDRESS[:-1] + "0", "1" * 31, "", None):
        with pytest.raises(ValueError):  # noqa: PT011
            Wallet.parse(text)


def test_responses_carry_prices_as_numbers_and_times_with_milliseconds() -> None:
    assert price(500_000_000) == 0.5
    assert iso_time(datetime(2027, 1, 31, 12, 0, 0, 5_999, tzinfo=UTC)) == "2027-01-31T12:00:00.005Z"

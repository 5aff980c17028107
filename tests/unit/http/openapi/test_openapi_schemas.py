from __future__ import annotations

from typing import Annotated, ClassVar

import pytest
from msgspec import UNSET, Meta, Struct, UnsetType, defstruct

from zmartd.http.kit.fields import U64, MarketRef, Text
from zmartd.http.openapi.schemas import Schemas, query_fields, reference


class Shares(U64):
    minimum: ClassVar[int] = 1
    maximum: ClassVar[int] = 10


class Words(Text):
    min_length: ClassVar[int] = 3
    max_length: ClassVar[int] = 5


class Order(Struct, kw_only=True):
    ALIASES: ClassVar[dict[str, str]] = {"marketId": "market_id"}

    market_id: Annotated[MarketRef, Meta(description="a market")]
    shares: Annotated[Shares, Meta(description="shares")]
    words: Annotated[Words | None, Meta(description="words")] = None


class Part(Struct):
    name: str = "part"


class Answered(Struct, kw_only=True):
    whole: int = 0
    parts: tuple[Part, ...] = ()
    maybe: str | UnsetType = UNSET


class Sparse(Struct, omit_defaults=True):
    here: int
    there: int = 0


def test_a_struct_is_a_component_and_an_array_of_it_is_not() -> None:
    schemas = Schemas([Order], [tuple[Answered, ...]])
    assert schemas.of(Order) == reference("Order") == {"$ref": "#/components/schemas/Order"}
    assert schemas.of(tuple[Answered, ...]) == {"type": "array", "items": reference("Answered")}
    assert set(schemas.components) == {"Order", "Answered", "Part"}


def test_a_response_requires_every_field_but_those_that_may_be_unset() -> None:
    schemas = Schemas([], [Answered])
    assert schemas.components["Answered"]["required"] == ["whole", "parts"]
    assert schemas.components["Part"]["required"] == ["name"]
    assert "default" not in schemas.components["Answered"]["properties"]["whole"]


def test_a_response_that_omits_defaults_requires_fields_without_one() -> None:
    assert Schemas([], [Sparse]).components["Sparse"]["required"] == ["here"]


def test_a_request_accepts_any_alias_of_a_required_field() -> None:
    order = Schemas([Order], []).components["Order"]
    assert order["required"] == ["shares"]
    assert order["allOf"] == [{"anyOf": [{"required": ["market_id"]}, {"required": ["marketId"]}]}]
    alias = order["properties"]["marketId"]
    assert (alias["description"], alias["deprecated"]) == ("the same as market_id", True)
    assert alias["pattern"] == MarketRef.schema["pattern"]


def test_amounts_and_texts_say_their_bounds() -> None:
    assert Shares.schema["oneOf"][0] == {"type": "integer", "minimum": 1, "maximum": 10}
    assert Words.schema == {"type": "string", "minLength": 3, "maxLength": 5}
    assert U64.schema["oneOf"][0]["maximum"] == 2**64 - 1


def test_a_query_string_has_no_null() -> None:
    market, shares, words, alias = query_fields(Order)
    # Either spelling will do, which a query string has no way of saying but in words.
    assert (market[0], market[1]) == ("market_id", False)
    assert market[2]["description"] == "a market; required, as market_id or marketId"
    assert (shares[0], shares[1]) == ("shares", True)
    assert words == ("words", False, Words.schema | {"description": "words"})
    assert (alias[0], alias[1]) == ("marketId", False)


def test_two_types_with_one_name_are_refused() -> None:
    double = defstruct("Part", [("other", int)], module="elsewhere")
    with pytest.raises(ValueError, match="two types of the API are named Part"):
        Schemas([], [Answered, double])

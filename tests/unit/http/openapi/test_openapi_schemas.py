from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import pytest
from msgspec import UNSET, Meta, Struct, UnsetType, defstruct

from zmartd.http.kit.fields import U64, MarketRef, Text
from zmartd.http.kit.forms import Form
from zmartd.http.openapi.schemas import Schemas, query_fields, reference


class Shares(U64):
    minimum: ClassVar[int] = 1
    maximum: ClassVar[int] = 10


class Words(Text):
    min_length: ClassVar[int] = 3
    max_length: ClassVar[int] = 5


class Fixed(Struct):
    """Cannot vary.

    Ever.
    """

    zero: Literal[0]
    never: Annotated[bool, Meta(extra_json_schema={"enum": [False]})]
    side: Literal["buy", "sell"]
    more: dict[str, Any]


class Order(Struct, kw_only=True):
    ALIASES: ClassVar[dict[str, str]] = {"market": "market_id"}

    market_id: Annotated[MarketRef, Meta(description="a market")]
    shares: Annotated[Shares, Meta(description="shares")]
    words: Annotated[Words | None, Meta(description="words")] = None


class Payment(Struct, kw_only=True):
    """By card or in cash."""

    FORMS: ClassVar[tuple[Form, ...]] = (
        Form("ByCard", "By card.", "card", ("cash",)),
        Form("InCash", "In cash.", "cash", ("card",)),
    )

    order: Annotated[str, Meta(description="what is paid")]
    card: Annotated[str | None, Meta(description="its number")] = None
    cash: Annotated[Shares | None, Meta(description="how much")] = None


class Part(Struct):
    name: str = "part"


class Answered(Struct, kw_only=True):
    whole: int = 0
    parts: tuple[Part, ...] = ()
    maybe: str | UnsetType = UNSET


class Sparse(Struct, omit_defaults=True):
    here: int
    there: int = 0


def test_a_request_with_forms_is_their_union() -> None:
    schemas = Schemas([Payment], []).components
    assert schemas["Payment"] == {
        "title": "Payment",
        "description": "By card or in cash.",
        "oneOf": [reference("ByCard"), reference("InCash")],
    }
    assert schemas["InCash"]["description"] == "In cash."
    assert list(schemas["InCash"]["properties"]) == ["order", "cash"]
    assert schemas["InCash"]["properties"]["cash"] == {**Shares.schema, "description": "how much"}
    assert schemas["InCash"]["required"] == ["order", "cash"]
    assert schemas["InCash"]["additionalProperties"] is False


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


def test_a_request_names_the_aliases_of_a_field_in_words() -> None:
    order = Schemas([Order], []).components["Order"]
    assert order["required"] == ["market_id", "shares"]
    assert list(order["properties"]) == ["market_id", "shares", "words"]
    market = order["properties"]["market_id"]
    assert market["description"] == "a market; also accepted as marketId or market"


def test_a_request_leaves_out_what_it_does_not_have_to_say() -> None:
    assert "default" not in Schemas([Order], []).components["Order"]["properties"]["words"]


def test_an_enumeration_says_its_type_and_a_single_value_is_a_constant() -> None:
    fields = Schemas([], [Fixed]).components["Fixed"]["properties"]
    assert fields["zero"] == {"const": 0}
    assert fields["never"] == {"type": "boolean", "const": False}
    assert fields["side"] == {"type": "string", "enum": ["buy", "sell"]}


def test_an_object_of_which_nothing_is_known_may_have_anything() -> None:
    anything = {"type": "object", "additionalProperties": True}
    assert Schemas([], [Fixed]).components["Fixed"]["properties"]["more"] == anything
    assert Schemas([], [dict[str, Any]]).of(dict[str, Any]) == anything


def test_a_description_is_without_the_indentation_of_the_source() -> None:
    assert Schemas([], [Fixed]).components["Fixed"]["description"] == "Cannot vary.\n\nEver."


def test_amounts_and_texts_say_their_bounds() -> None:
    assert Shares.schema["oneOf"][0] == {"type": "integer", "minimum": 1, "maximum": 10}
    assert Words.schema == {"type": "string", "minLength": 3, "maxLength": 5}
    assert U64.schema["oneOf"][0]["maximum"] == 2**64 - 1


def test_a_query_string_has_no_null() -> None:
    market, shares, words = query_fields(Order)
    assert (market[0], market[1]) == ("market_id", True)
    assert market[2]["description"] == "a market; also accepted as marketId or market"
    assert (shares[0], shares[1]) == ("shares", True)
    assert words == ("words", False, Words.schema | {"description": "words"})


def test_two_types_with_one_name_are_refused() -> None:
    double = defstruct("Part", [("other", int)], module="elsewhere")
    with pytest.raises(ValueError, match="two types of the API are named Part"):
        Schemas([], [Answered, double])

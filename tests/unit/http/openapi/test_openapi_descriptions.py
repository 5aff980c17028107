from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Meta, Struct, UnsetType

from zmartd.chain.idl import default_idl
from zmartd.http.kit.pagination import Limit
from zmartd.http.openapi.document import openapi
from zmartd.http.openapi.schemas import Json, Schemas, field_docs, query_fields, reference
from zmartd.http.routes import OPERATIONS


class Origin(Struct):
    place: str


class Parcel(Struct, rename="camel"):
    """A parcel."""

    net_weight: Annotated[int, Meta(description="grams")]
    """Without what it is
    packed in."""
    sent_from: Origin
    """Where it was handed in."""
    contents: Annotated[str, Meta(description="in words")]
    remark: str | UnsetType = UNSET


class Search(Struct):
    ALIASES: ClassVar[Mapping[str, str]] = {"q": "words"}

    words: Annotated[str, Meta(description="a text")]
    """What to look for."""
    limit: Limit = 20
    most: Annotated[Limit | None, Meta(description="a whole number")] = None
    """How many of the best."""


SAY_THEMSELVES = {
    *("cursor", "market_id", "token", "domain", "channels", "since"),
    *("message", "signature", "signed_message", "transaction", "protection"),
    *("slippage_bps", "max_cost", "min_shares", "min_proceeds", "decision"),
}
"""Fields and parameters whose rule is what they are for."""


class Letter(Parcel):
    remark: str | UnsetType = UNSET
    """What the postman wrote on it."""


def test_the_docstring_of_a_field_precedes_the_description_of_its_type() -> None:
    properties = Schemas([], [Parcel]).components["Parcel"]["properties"]
    assert properties["netWeight"]["description"] == "Without what it is packed in."
    assert properties["sentFrom"] == reference("Origin") | {"description": "Where it was handed in."}
    assert properties["contents"]["description"] == "in words"
    assert "description" not in properties["remark"]


def test_inherited_fields_are_described_too() -> None:
    assert field_docs(Letter) == field_docs(Parcel) | {"remark": "What the postman wrote on it."}


def test_a_field_of_a_request_has_its_meaning_before_its_rule() -> None:
    properties = Schemas([Parcel], []).components["Parcel"]["properties"]
    assert properties["netWeight"]["description"] == "Without what it is packed in. Send grams."
    assert properties["contents"]["description"] == "in words"


def test_a_parameter_has_its_meaning_before_its_rule() -> None:
    described = {name: about["description"] for name, _, about in query_fields(Search)}
    assert described == {
        "words": "What to look for. Send a text; also accepted as q.",
        "limit": "The most items on a page. Send a whole number from 0 to 100.",
        "most": "How many of the best. Send a whole number.",
    }


def test_every_field_and_parameter_of_a_request_says_what_it_is_for() -> None:
    document = openapi(OPERATIONS, default_idl())
    entries = [entry for methods in document["paths"].values() for entry in methods.values()]
    told = [
        (parameter["name"], parameter["description"])
        for entry in entries
        for parameter in entry["parameters"]
        if parameter.get("in") == "query"
    ]
    schemas: Json = document["components"]["schemas"]
    for entry in entries:
        body: Json = (
            entry.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        )
        kind = schemas.get(body.get("$ref", "").rpartition("/")[2], {})
        for form in kind.get("oneOf", [kind]):
            whole = schemas.get(form.get("$ref", "").rpartition("/")[2], form)
            told += [(name, about["description"]) for name, about in whole.get("properties", {}).items()]
    silent = {name for name, text in told if " Send " not in text} - SAY_THEMSELVES
    assert not silent
    assert {name for name, _ in told} >= SAY_THEMSELVES


def test_every_field_of_the_api_is_described() -> None:
    silent = list(_without_words(openapi(OPERATIONS, default_idl())))
    assert not silent, "\n".join(silent)


def test_a_description_names_the_fields_as_they_are_sent() -> None:
    schemas: Json = openapi(OPERATIONS, default_idl())["components"]["schemas"]
    misnamed = [
        f"{name}: {word}"
        for name, schema in schemas.items()
        if "properties" in schema
        for word in re.findall("`([a-z]+_[a-z_]+)`", schema.get("description", ""))
        if word not in schema["properties"]
        and re.sub("_([a-z])", lambda match: match[1].upper(), word) in schema["properties"]
    ]
    assert misnamed == []


def _without_words(document: Json) -> Iterator[str]:
    components: Json = document["components"]
    for name, schema in components["schemas"].items():
        yield from (f"{name}.{field}" for field in _silent_fields(schema))
    for part in ("parameters", "headers"):
        yield from (f"{part}/{name}" for name, one in components[part].items() if _is_silent(one))
    for path, methods in document["paths"].items():
        for method, entry in methods.items():
            for place, found in _parts(entry):
                if "$ref" not in found and _is_silent(found):
                    yield f"{method} {path}: {place}"


def _parts(entry: Json) -> Iterator[tuple[str, Json]]:
    for parameter in entry["parameters"]:
        yield parameter.get("name", ""), parameter
    for status, response in entry["responses"].items():
        for name, header in response["headers"].items():
            yield f"{status} {name}", header


def _silent_fields(schema: Json) -> Iterator[str]:
    yield from (name for name, field in schema.get("properties", {}).items() if _is_silent(field))


def _is_silent(part: Any) -> bool:
    return not str(part.get("description", "")).strip()

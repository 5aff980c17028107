from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from zmartd.chain.idl import default_idl
from zmartd.http.openapi.document import openapi
from zmartd.http.openapi.schemas import Json, Schemas, field_docs, reference
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


def test_a_rule_of_a_request_is_not_overwritten() -> None:
    assert Schemas([Parcel], []).components["Parcel"]["properties"]["netWeight"]["description"] == "grams"


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

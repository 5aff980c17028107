"""The JSON schemas of request and response types, for the components of the OpenAPI 3.1 document.

Descriptions of fields come from the docstrings under the fields in the source, of requests with the rule that
an error names. Where JSON Schema has several
ways to say a thing, the document uses the one that generators of clients understand.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from functools import cache
from inspect import cleandoc, getsource
from itertools import pairwise
from typing import Any

import msgspec
from msgspec import NODEFAULT, Struct, inspect, structs

from zmartd.http.kit.fields import MEANING, Field
from zmartd.http.kit.forms import Form
from zmartd.http.kit.names import aliases_of
from zmartd.market.json_fields import CLOCK

Json = dict[str, Any]
FieldDocs = dict[str, str]

_TEMPLATE = "#/components/schemas/{name}"
_NULL = {"type": "null"}


class Schemas:
    """The schemas of the types in requests and responses."""

    def __init__(self, requests: Sequence[Any], responses: Sequence[Any]) -> None:
        """Raises ValueError where two types have the same name, TypeError for a type without a schema."""
        types = list(dict.fromkeys([*requests, *responses]))
        schemas, components = msgspec.json.schema_components(
            types, schema_hook=_field_schema, ref_template=_TEMPLATE
        )
        for schema in (*schemas, *components.values()):
            _tidy(schema)
        self._schemas = dict(zip(types, schemas, strict=True))
        self.components: Json = components
        for kind in _structs(requests):
            _describe_inputs(kind.cls, self._component(kind.cls))
            _drop_defaults(self._component(kind.cls))
            self._component(kind.cls)["additionalProperties"] = False
            self._split(kind.cls)
        for kind in _structs(responses):
            _require_sent_fields(kind, self._component(kind.cls))
            _add_descriptions(kind, self._component(kind.cls))

    def of(self, kind: Any) -> Json:
        """The schema of one of the types: a reference if it is a component."""
        return dict(self._schemas[kind])

    def _split(self, kind: type[Struct]) -> None:
        """Make a union of a request that has `FORMS`."""
        forms: tuple[Form, ...] = getattr(kind, "FORMS", ())
        if not forms:
            return
        whole = self._component(kind)
        for form in forms:
            kept = {name: field for name, field in whole["properties"].items() if name not in form.excludes}
            required = {form.requires: _without_null(kept[form.requires])}
            self.components[form.name] = {
                **whole,
                "title": form.name,
                "description": form.meaning,
                "properties": kept | required,
                "required": [*whole["required"], form.requires],
            }
        self.components[kind.__name__] = {
            "title": whole["title"],
            "description": whole["description"],
            "oneOf": [reference(form.name) for form in forms],
        }

    def _component(self, kind: type[Struct]) -> Json:
        if kind.__name__ not in self.components:
            raise ValueError(f"two types of the API are named {kind.__name__}; one is in {kind.__module__}")
        component: Json = self.components[kind.__name__]
        return component


def reference(name: str) -> Json:
    """A reference to the component `name`."""
    return {"$ref": _TEMPLATE.format(name=name)}


def query_fields(query: type[Struct]) -> list[tuple[str, bool, Json]]:
    """The name of each field of a query, whether it is required, and its schema."""
    _, components = msgspec.json.schema_components([query], schema_hook=_field_schema, ref_template=_TEMPLATE)
    schema = components[query.__name__]
    _tidy(schema)
    _describe_inputs(query, schema)
    required = set(schema["required"])
    return [(name, name in required, _without_null(field)) for name, field in schema["properties"].items()]


def _field_schema(kind: type) -> Json:
    if issubclass(kind, Field):
        return deepcopy(kind.schema)
    raise TypeError(f"{kind} has no JSON schema")


def _without_null(field: Json) -> Json:
    """The schema without null, which a query cannot contain."""
    field = {name: value for name, value in field.items() if (name, value) != ("default", None)}
    choices = [choice for choice in field.pop("anyOf", []) if choice != _NULL]
    if len(choices) == 1:
        (choice,) = choices
        return {**choice, **field}
    return field | {"anyOf": choices} if choices else field


def _tidy(schema: Json) -> None:
    """Say what msgspec says in the form that generators take.

    They drop an `enum` of one value that is no text, and read an object of which nothing more is known as one
    that must be empty.
    """
    for node in _nodes(schema):
        if isinstance(node.get("description"), str):
            node["description"] = cleandoc(node["description"])
        if "$ref" in node:  # of an annotation: the component says the type
            node.pop("type", None)
        values = node.get("enum", ())
        if len(values) == 1:
            (node["const"],) = node.pop("enum")
        elif values and all(isinstance(value, str) for value in values):
            node["type"] = "string"
        if node.get("type") == "object" and "properties" not in node:
            node.setdefault("additionalProperties", True)


def _nodes(schema: Any) -> Iterator[Json]:
    """`schema` and every schema in it."""
    if isinstance(schema, dict):
        yield schema
    parts = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for part in parts:
        yield from _nodes(part)


def _describe_inputs(kind: type[Struct], schema: Json) -> None:
    """Say of each field what it is for, then its rule, and its aliases: as properties they would be fields of
    a client.
    """
    docs = field_docs(kind)
    for field in structs.fields(kind):
        name = field.encode_name
        described = schema["properties"][name]
        of_its_type = _taken(described, MEANING)
        meaning, rule = docs.get(field.name, of_its_type), described.get("description")
        if aliases := [alias for alias, of in aliases_of(kind).items() if of == name]:
            rule = f"{rule}; also accepted as {' or '.join(aliases)}"
        if meaning or rule:
            told = f"{meaning} Send {rule}." if meaning and rule else meaning or rule
            described["description"] = told


def _drop_defaults(schema: Json) -> None:
    """What may be left out is what `required` leaves out: generators require a field with a default."""
    for field in schema["properties"].values():
        field.pop("default", None)


def _require_sent_fields(kind: inspect.StructType, schema: Json) -> None:
    """A response has all of its fields, also those with defaults, unless its type omits defaults."""
    if kind.cls.__struct_config__.omit_defaults:
        return
    schema["required"] = [field.encode_name for field in kind.fields if _is_always_sent(field)]
    _drop_defaults(schema)


def _add_descriptions(kind: inspect.StructType, schema: Json) -> None:
    """The docstring of a field takes precedence over the description of its type."""
    docs = field_docs(kind.cls)
    for field in kind.fields:
        described = schema["properties"][field.encode_name]
        if field.name in docs:
            described["description"] = docs[field.name]
        if clock := _taken(described, CLOCK):
            text = described.get("description", "").removesuffix(".")
            described["description"] = f"{text}. By the {clock}'s clock."


def _taken(schema: Json, key: str) -> str | None:
    """What a type says of itself under `key`; it is taken out of the schema, whose description says it."""
    said = [one.pop(key) for one in (schema, *schema.get("anyOf", ())) if key in one]
    return str(said[0]) if said else None


def _is_always_sent(field: inspect.Field) -> bool:
    """Whether the encoder always writes the field: it has a value unless its default is UNSET."""
    return field.required or (field.default, field.default_factory) != (NODEFAULT, NODEFAULT)


def _structs(types: Iterable[Any]) -> Iterator[inspect.StructType]:
    """Every struct in `types`, nested ones as well, once."""
    waiting: list[inspect.Type] = list(inspect.multi_type_info(types))
    known: set[type] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, inspect.StructType):
            if node.cls in known:
                continue
            known.add(node.cls)
            yield node
            waiting.extend(field.type for field in node.fields)
        for name in node.__struct_fields__:
            part = getattr(node, name)
            parts = part if isinstance(part, tuple) else (part,)
            waiting.extend(one for one in parts if isinstance(one, inspect.Type))


def field_docs(kind: type[Struct]) -> FieldDocs:
    """The docstrings of the fields of `kind` and its bases, each on one line. Empty without source code."""
    docs: FieldDocs = {}
    for base in reversed(kind.__mro__):
        docs |= _module_docs(base.__module__).get(base.__qualname__, {})
    return docs


@cache
def _module_docs(name: str) -> dict[str, FieldDocs]:
    """The field docs of each top-level class of a module, by its name."""
    try:
        source = getsource(sys.modules[name])
    except (KeyError, OSError, TypeError):
        return {}
    classes = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    return {node.name: dict(_class_docs(node)) for node in classes}


def _class_docs(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(node.body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str() as text)),
            ):
                yield name, " ".join(text.split())

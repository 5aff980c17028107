"""The JSON schemas of request and response types, as OpenAPI 3.1 has them among its components."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import NODEFAULT, Struct, inspect

from zmartd.http.kit.fields import Field
from zmartd.http.kit.validation import spellings
from zmartd.http.openapi.field_docs import field_docs

Json = dict[str, Any]

_TEMPLATE = "#/components/schemas/{name}"
_NULL = {"type": "null"}


class Schemas:
    """The schemas of every type that requests and answers are made of."""

    def __init__(self, requests: Sequence[Any], answers: Sequence[Any]) -> None:
        """Raises ValueError where two types have one name, TypeError for a type without a schema."""
        types = list(dict.fromkeys([*requests, *answers]))
        schemas, components = msgspec.json.schema_components(
            types, schema_hook=_field_schema, ref_template=_TEMPLATE
        )
        self._schemas = dict(zip(types, schemas, strict=True))
        self.components: Json = components
        for kind in _structs(requests):
            _name_aliases(kind.cls, self._component(kind.cls))
        for kind in _structs(answers):
            _require_what_is_sent(kind, self._component(kind.cls))
            _describe(kind, self._component(kind.cls))

    def of(self, kind: Any) -> Json:
        """The schema of one of the types: a reference, where it is a component."""
        return dict(self._schemas[kind])

    def _component(self, kind: type[Struct]) -> Json:
        if kind.__name__ not in self.components:
            raise ValueError(f"two types of the API are called {kind.__name__}: {kind.__module__} has one")
        component: Json = self.components[kind.__name__]
        return component


def reference(name: str) -> Json:
    """A reference to the component `name`."""
    return {"$ref": _TEMPLATE.format(name=name)}


def query_fields(query: type[Struct]) -> list[tuple[str, bool, Json]]:
    """Name, whether it is required, and schema of each field of a query string."""
    _, components = msgspec.json.schema_components([query], schema_hook=_field_schema, ref_template=_TEMPLATE)
    schema = components[query.__name__]
    _name_aliases(query, schema)
    required = set(schema["required"])
    return [(name, name in required, _without_null(field)) for name, field in schema["properties"].items()]


def _field_schema(kind: type) -> Json:
    if issubclass(kind, Field):
        return dict(kind.schema)
    raise TypeError(f"{kind} has no JSON schema")


def _without_null(field: Json) -> Json:
    """A query string says nothing by leaving a name out."""
    field = {name: value for name, value in field.items() if (name, value) != ("default", None)}
    choices = [choice for choice in field.pop("anyOf", []) if choice != _NULL]
    if len(choices) == 1:
        (choice,) = choices
        return {**choice, **field}
    return field | {"anyOf": choices} if choices else field


def _name_aliases(kind: type[Struct], schema: Json) -> None:
    """Other spellings of a field are properties of their own; where one is required, any of them will do."""
    aliases = spellings(kind)
    properties, required = schema["properties"], schema["required"]
    for alias, name in aliases.items():
        properties[alias] = properties[name] | {"description": f"the same as {name}", "deprecated": True}
    names = {name: [name, *(alias for alias, of in aliases.items() if of == name)] for name in required}
    for name, known in names.items():
        if len(known) > 1:
            meaning = properties[name].get("description", "")
            properties[name] |= {"description": f"{meaning}; required, as {' or '.join(known)}"}
    schema["required"] = [name for name, known in names.items() if len(known) == 1]
    choices = [
        {"anyOf": [{"required": [one]} for one in known]} for known in names.values() if len(known) > 1
    ]
    if choices:
        schema["allOf"] = choices


def _require_what_is_sent(kind: inspect.StructType, schema: Json) -> None:
    """An answer has all of its fields, also those with defaults, unless it is made to leave some out."""
    if kind.cls.__struct_config__.omit_defaults:
        return
    schema["required"] = [field.encode_name for field in kind.fields if _is_always_sent(field)]
    for field in schema["properties"].values():
        field.pop("default", None)


def _describe(kind: inspect.StructType, schema: Json) -> None:
    """What is written under a field says more than its type, which it may share with many."""
    docs = field_docs(kind.cls)
    for field in kind.fields:
        if field.name in docs:
            schema["properties"][field.encode_name]["description"] = docs[field.name]


def _is_always_sent(field: inspect.Field) -> bool:
    """Whether encoders write it: all but fields that are UNSET unless said otherwise have a value."""
    return field.required or (field.default, field.default_factory) != (NODEFAULT, NODEFAULT)


def _structs(types: Iterable[Any]) -> Iterator[inspect.StructType]:
    """Every struct that `types` are made of, once."""
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

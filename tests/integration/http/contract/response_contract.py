"""Every answer of an application under test, held against the OpenAPI document."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema_rs
from aiohttp import hdrs, web

from zmartd.chain.idl import default_idl
from zmartd.http.kit.path_variables import path_template
from zmartd.http.openapi.document import openapi
from zmartd.http.routes import OPERATIONS

_HERE = "urn:zmartd:document"
_OF_THE_ROUTER = {"route_not_found", "method_not_allowed", "cors_refused"}


class Contract:
    """The document's schemas, as strict as a test can be: an answer has no field that is not documented."""

    def __init__(self, document: Any) -> None:
        text = json.dumps(document).replace('"#/components/', f'"{_HERE}#/components/')
        absolute = json.loads(text)
        self._paths = absolute["paths"]
        self._headers = absolute["components"]["headers"]
        self._registry = jsonschema_rs.Registry([(_HERE, _closed({"components": absolute["components"]}))])
        self._validators: dict[tuple[str, ...], Any] = {}

    def breaches(self, method: str, path: str | None, answer: web.StreamResponse) -> list[str]:
        """What `answer`, about to be sent from the route `path`, has or lacks against the document."""
        if path is None or method.lower() not in self._paths.get(path, {}):
            return _breaches_of_the_router(answer) if path is None else []
        response = self._paths[path][method.lower()]["responses"].get(str(answer.status))
        if response is None:
            return [f"status {answer.status} is not documented"]
        missing = [
            f"the header {name} is missing"
            for name in response.get("headers", {})
            if self._headers[name].get("required") and name not in answer.headers
        ]
        return missing + self._breaches_of_the_body((method, path, str(answer.status)), response, answer)

    def _breaches_of_the_body(
        self, where: tuple[str, ...], response: Any, answer: web.StreamResponse
    ) -> list[str]:
        body = answer.body if isinstance(answer, web.Response) else None
        if not isinstance(body, bytes) or not body:
            return []
        media = response.get("content", {}).get(answer.content_type)
        if media is None:
            return [f"{answer.content_type} is not documented"]
        if answer.content_type != "application/json":
            return []
        return self._breaches(where, media["schema"], json.loads(body))

    def breaches_of_body(self, method: str, path: str, status: int, body: Any) -> list[str]:
        """What `body`, as the JSON answer of an operation, has or lacks against the document."""
        operation = self._paths[path_template(path)][method.lower()]
        schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
        return self._breaches((method, path, str(status)), schema, body)

    def breaches_of_schema(self, name: str, value: Any) -> list[str]:
        """What `value` has or lacks against the component `name`."""
        return self._breaches((name,), {"$ref": f"{_HERE}#/components/schemas/{name}"}, value)

    def _breaches(self, where: tuple[str, ...], schema: Any, value: Any) -> list[str]:
        validator = self._validators.get(where)
        if validator is None:
            validator = jsonschema_rs.validator_for(schema, registry=self._registry, validate_formats=True)
            self._validators[where] = validator
        return [
            f"at {'/'.join(map(str, error.instance_path)) or 'the root'}: {error.message[:300]}"
            for error in validator.iter_errors(value)
        ]


@cache
def contract() -> Contract:
    """The contract of the API as it is."""
    return Contract(openapi(OPERATIONS, default_idl()))


def hold_to_contract(app: web.Application) -> None:
    """Let `app` fail when it is closed if any of its answers was not as documented."""
    breaches: list[str] = []

    async def look(request: web.Request, answer: web.StreamResponse) -> None:
        if request.method in {hdrs.METH_OPTIONS, hdrs.METH_HEAD}:
            return
        resource = request.match_info.route.resource
        path = None if resource is None else path_template(resource.canonical)
        found = contract().breaches(request.method, path, answer)
        breaches.extend(f"{request.method} {path} -> {answer.status}: {breach}" for breach in found)

    async def judge(_: web.Application) -> None:
        assert not breaches, "\n".join(["answers that are not as documented:", *sorted(set(breaches))])

    app.on_response_prepare.append(look)
    app.on_cleanup.append(judge)


def _breaches_of_the_router(answer: web.StreamResponse) -> list[str]:
    body = answer.body if isinstance(answer, web.Response) else None
    code = json.loads(body)["code"] if isinstance(body, bytes) else None
    return [] if code in _OF_THE_ROUTER else [f"{code} is no answer for a path that does not exist"]


def _closed(schema: Any) -> Any:
    """`schema` with every object in it limited to the properties that it names."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(part) for name, part in schema.items()}
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed

"""The routes of the documentation: the OpenAPI document, and Swagger UI at /docs.

The daemon serves every file of the pages itself, so they need no other host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec import Struct

from zmartd.chain.idl import Idl
from zmartd.http.kit.etags import TaggedResponse
from zmartd.http.kit.operation import Access, CachePolicy, Call, LoadBody, NonJson, Operation
from zmartd.http.openapi.document import openapi
from zmartd.http.openapi.schemas import Json

SWAGGER_UI = Path(__file__).with_name("swagger_ui")
"""Files of the npm package swagger-ui-dist, unchanged, with their VERSION and SHA256SUMS."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Allows only this origin, and nothing inline. The icons of the style sheet are data: URLs."""

_PAGE = b"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>zmartd API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<script src="/docs/swagger-ui-bundle.js" defer></script>
<script src="/docs/start.js" defer></script>
</head>
<body><main id="api"></main></body>
</html>
"""

_START = b"""\
SwaggerUIBundle({
  url: "/api/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "none",
  filter: true,
  defaultModelsExpandDepth: 0,
});
"""


class OpenApiDocument:
    """The OpenAPI document about `operations`, encoded when it is first requested."""

    def __init__(self, operations: Sequence[Operation[Any]], idl: Idl) -> None:
        self._operations = operations
        self._idl = idl
        self.encoded: TaggedResponse | None = None
        """None before the first request."""

    async def response(self) -> TaggedResponse:
        """Encodes in a thread: it takes a tenth of a second, which would block other requests."""
        if self.encoded is None:
            self.encoded = await asyncio.to_thread(self._encode)
        return self.encoded

    def _encode(self) -> TaggedResponse:
        return TaggedResponse.of(msgspec.json.encode(openapi(self._operations, self._idl)))


class DocsFile(Struct, frozen=True):
    """One file of the pages."""

    path: str
    summary: str
    media_type: str
    read: Callable[[], bytes]


def _bundled(name: str) -> bytes:
    """The content of a file that scripts/fetch-swagger-ui downloaded."""
    return (SWAGGER_UI / name).read_bytes()


_FILES = (
    DocsFile("/docs", "Read the API's documentation", "text/html", lambda: _PAGE),
    DocsFile("/docs/start.js", "Get the script that starts Swagger UI", "text/javascript", lambda: _START),
    DocsFile(
        "/docs/swagger-ui-bundle.js",
        "Get Swagger UI's script",
        "text/javascript",
        lambda: _bundled("swagger-ui-bundle.js"),
    ),
    DocsFile(
        "/docs/swagger-ui.css",
        "Get Swagger UI's style sheet",
        "text/css",
        lambda: _bundled("swagger-ui.css"),
    ),
)


def read_files() -> Mapping[str, TaggedResponse]:
    """The responses of the pages by path."""
    files = {
        file.path: TaggedResponse.of(file.read(), f"{file.media_type}; charset=utf-8") for file in _FILES
    }
    for file in files.values():
        file.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return files


OPENAPI: Final[web.AppKey[OpenApiDocument]] = web.AppKey("openapi")
DOCS: Final[web.AppKey[Mapping[str, TaggedResponse]]] = web.AppKey("docs")


class InMemory(CachePolicy):
    """For what `find` finds in an application by the path of a request; None where it is not made yet."""

    def __init__(self, find: Callable[[web.Application, str], TaggedResponse | None]) -> None:
        self._find = find

    def peek(self, request: web.Request) -> TaggedResponse | None:
        return self._find(request.app, request.path)

    async def respond(self, request: web.Request, load: LoadBody) -> web.Response | None:
        return None  # the handler responds


async def openapi_document(call: Call[None]) -> web.Response:
    """Get this document."""
    response = await call.app[OPENAPI].response()
    return response.respond_to(call.request)


async def docs(call: Call[None]) -> web.Response:
    return call.app[DOCS][call.request.path].respond_to(call.request)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/openapi.json",
        handler=openapi_document,
        summary="Get the API's OpenAPI 3.1 document",
        tag="documentation",
        access=Access.PUBLIC,
        responses={200: Json},
        cache=InMemory(lambda app, _: app[OPENAPI].encoded),
    ),
)

DOCS_OPERATIONS: tuple[Operation[Any], ...] = tuple(
    Operation(
        method="GET",
        path=file.path,
        handler=docs,
        summary=file.summary,
        tag="documentation",
        access=Access.PUBLIC,
        responses={200: NonJson(file.media_type)},
        cache=InMemory(lambda app, path: app[DOCS].get(path)),
    )
    for file in _FILES
)
"""For pages of the daemon's own origin only."""

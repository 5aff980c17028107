"""The routes of the documentation: the OpenAPI document, and Swagger UI at /docs.

The daemon serves every file of the pages itself, so they need no other host.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec import Struct

from zmartd.chain.idl import Idl
from zmartd.http.kit.development_chain import DevelopmentChain
from zmartd.http.kit.etags import TaggedResponse
from zmartd.http.kit.lazy_response import LazyResponse
from zmartd.http.kit.operation import Access, CachePolicy, Call, LoadAnswer, LoadBody, NonJson, Operation
from zmartd.http.openapi.document import openapi
from zmartd.http.openapi.schemas import Json

SWAGGER_UI = Path(__file__).with_name("swagger_ui")
"""Files of the npm package swagger-ui-dist, unchanged, with their VERSION and SHA256SUMS."""
TRY_OUT = Path(__file__).with_name("try_out")
"""The scripts of the bar above the documentation of a development chain."""

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
<script src="/docs/start.js" type="module"></script>
</head>
<body><main id="api"></main></body>
</html>
"""

_START = """\
function startDocs(more) {
  window.ui = SwaggerUIBundle({
    url: "/api/openapi.json",
    dom_id: "#api",
    deepLinking: true,
    displayRequestDuration: true,
    docExpansion: "none",
    filter: true,
    defaultModelsExpandDepth: 0,
    ...more,
  });
}
"""


def openapi_response(operations: Sequence[Operation[Any]], idl: Idl) -> LazyResponse:
    """The OpenAPI document about `operations`."""
    return LazyResponse(lambda: TaggedResponse.of(msgspec.json.encode(openapi(operations, idl))))


class PageFacts(Struct, frozen=True):
    """What pages say about the daemon."""

    environment: str
    cluster: str
    program: str
    chain: DevelopmentChain | None


class PageFile(Struct, frozen=True):
    """One file of a page, which may depend on the facts."""

    path: str
    summary: str
    media_type: str
    read: Callable[[PageFacts], bytes]

    @property
    def name(self) -> str:
        """The name of the operation that gets it, such as `get_docs_start_js`."""
        return "_".join(["get", *re.findall(r"\w+", self.path)])

    def response(self, facts: PageFacts) -> TaggedResponse:
        response = TaggedResponse.of(self.read(facts), f"{self.media_type}; charset=utf-8")
        response.headers["Content-Security-Policy"] = content_security_policy(facts.chain)
        return response


def content_security_policy(chain: DevelopmentChain | None) -> str:
    """Allows only this origin and nothing inline, and requests to the chain of a development daemon.

    The icons of the style sheet are data: URLs.
    """
    chain_origin = f" {chain.rpc_url}" if chain else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src 'self'{chain_origin}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _start_script(facts: PageFacts) -> bytes:
    """Starts Swagger UI; on a development chain with the bar that signs in with a throw-away wallet."""
    chain = facts.chain
    if chain is None:
        return f"{_START}startDocs({{}});\n".encode()
    rpc_url = msgspec.json.encode(chain.rpc_url).decode()
    wallet, try_out = ((TRY_OUT / name).read_text() for name in ("wallet.mjs", "try_out.mjs"))
    return f"{_START}const DEVELOPMENT_RPC = {rpc_url};\n{wallet}{try_out}".encode()


def _bundled(name: str) -> bytes:
    """The content of a file that scripts/fetch-swagger-ui downloaded."""
    return (SWAGGER_UI / name).read_bytes()


FILES = (
    PageFile("/docs", "Read the API's documentation", "text/html", lambda _: _PAGE),
    PageFile("/docs/start.js", "Get the script that starts Swagger UI", "text/javascript", _start_script),
    PageFile(
        "/docs/swagger-ui-bundle.js",
        "Get Swagger UI's script",
        "text/javascript",
        lambda _: _bundled("swagger-ui-bundle.js"),
    ),
    PageFile(
        "/docs/swagger-ui.css",
        "Get Swagger UI's style sheet",
        "text/css",
        lambda _: _bundled("swagger-ui.css"),
    ),
)


@cache
def read_files(files: tuple[PageFile, ...], facts: PageFacts) -> Mapping[str, TaggedResponse]:
    """The responses of files by path. They are read once: applications about the same chain share them."""
    return {file.path: file.response(facts) for file in files}


def file_operations(files: Sequence[PageFile]) -> tuple[Operation[Any], ...]:
    """The operations that serve files. DOCS has to have their responses."""
    return tuple(
        Operation(
            method="GET",
            path=file.path,
            handler=docs,
            name=file.name,
            summary=file.summary,
            tag="documentation",
            access=Access.PUBLIC,
            responses={200: NonJson(file.media_type)},
            cache=InMemory(lambda app, path: app[DOCS].get(path)),
        )
        for file in files
    )


OPENAPI: Final[web.AppKey[LazyResponse]] = web.AppKey("openapi")
DOCS: Final[web.AppKey[Mapping[str, TaggedResponse]]] = web.AppKey("docs")


class InMemory(CachePolicy):
    """For what `find` finds in an application by the path of a request; None where it is not made yet."""

    def __init__(self, find: Callable[[web.Application, str], TaggedResponse | None]) -> None:
        self._find = find

    def peek(self, request: web.Request, load: LoadAnswer) -> TaggedResponse | None:
        return self._find(request.app, request.path)

    async def respond(self, request: web.Request, load: LoadBody) -> web.Response | None:
        return None  # the handler responds


async def openapi_document(call: Call[None]) -> web.Response:
    """Get this document."""
    return (await call.app[OPENAPI].get()).respond_to(call.request)


async def docs(call: Call[None]) -> web.Response:
    return call.app[DOCS][call.request.path].respond_to(call.request)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/api/openapi.json",
        handler=openapi_document,
        name="get_openapi_document",
        summary="Get the API's OpenAPI 3.1 document",
        tag="documentation",
        access=Access.PUBLIC,
        responses={200: Json},
        cache=InMemory(lambda app, _: app[OPENAPI].made),
    ),
)

DOCS_OPERATIONS: tuple[Operation[Any], ...] = file_operations(FILES)
"""For pages of the daemon's own origin only."""

"""/docs: the API for people. The pages' parts come from this daemon alone, so they need no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from msgspec import Struct

from zmartd.http.kit.etags import TaggedAnswer
from zmartd.http.kit.operation import Call, Operation, Raw

SWAGGER_UI = Path(__file__).with_name("swagger_ui")
"""Files of npm's swagger-ui-dist, unchanged, with the VERSION and the SHA256SUMS they came with."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere and nothing inline. The style sheet's icons are data: URLs."""

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


class Document(Struct, frozen=True):
    """One file of the pages."""

    path: str
    summary: str
    media_type: str
    read: Callable[[], bytes]


def _bundled(name: str) -> bytes:
    """A file of Swagger UI's own build, as scripts/fetch-swagger-ui put it there."""
    return (SWAGGER_UI / name).read_bytes()


_DOCUMENTS = (
    Document("/docs", "The API's documentation for people", "text/html", lambda: _PAGE),
    Document("/docs/start.js", "What shows the document on that page", "text/javascript", lambda: _START),
    Document(
        "/docs/swagger-ui-bundle.js",
        "Swagger UI's script",
        "text/javascript",
        lambda: _bundled("swagger-ui-bundle.js"),
    ),
    Document(
        "/docs/swagger-ui.css",
        "Swagger UI's style sheet",
        "text/css",
        lambda: _bundled("swagger-ui.css"),
    ),
)


def read_files() -> Mapping[str, TaggedAnswer]:
    """What /docs serves, by path."""
    return {
        document.path: TaggedAnswer.of(document.read(), f"{document.media_type}; charset=utf-8")
        for document in _DOCUMENTS
    }


DOCS: Final[web.AppKey[Mapping[str, TaggedAnswer]]] = web.AppKey("docs")


async def docs(call: Call[None]) -> web.Response:
    response = call.app[DOCS][call.request.path].to(call.request)
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response


OPERATIONS: tuple[Operation[Any], ...] = tuple(
    Operation(
        method="GET",
        path=document.path,
        handler=docs,
        summary=document.summary,
        tag="documentation",
        answers={200: Raw(document.media_type), 304: None},
    )
    for document in _DOCUMENTS
)

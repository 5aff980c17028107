"""The routes of the first page and of /llms.txt.

A browser that opens the root gets the page, everybody else a text that names the documents. The root is also
a WebSocket.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

from aiohttp import hdrs, web

from zmartd import __version__
from zmartd.http.errors.websocket import Restarting, TooManyConnections
from zmartd.http.kit.etags import TaggedResponse
from zmartd.http.kit.operation import Access, Call, NonJson, Operation
from zmartd.http.openapi.routes import DOCS, PageFacts, PageFile, file_operations
from zmartd.http.ws.endpoint import WEBSOCKET
from zmartd.http.ws.handshake import wants_upgrade
from zmartd.http.ws.routes import ConnectionQuery

_HERE: Final = Path(__file__).parent
_FIRST_PAGE: Final = _HERE / "first_page"
_HTML: Final = "text/html"
_TEXT: Final = "text/plain"
_FOR_PROGRAMS: Final = b"""\
zmartd: the API of a prediction market on Solana

  /docs               the documentation, for people
  /docs/guide         the guide: how it is used, and how it is run
  /llms.txt           what the API is, on one page
  /api/openapi.json   every operation, as OpenAPI 3.1
  /docs/websocket     every frame of the WebSocket, for people
  /api/asyncapi.json  the same, as AsyncAPI 3
  /ws                 the WebSocket
"""


def _first_page(facts: PageFacts) -> bytes:
    development = facts.chain is not None
    page = Template((_FIRST_PAGE / "index.html").read_text())
    return page.substitute(
        version=escape(__version__),
        environment=escape(facts.environment),
        cluster=escape(facts.cluster),
        program=escape(facts.program),
        try_it=": try it with a throw-away wallet" if development else "",
        development=(_FIRST_PAGE / "development.html").read_text() if development else "",
    ).encode()


_FILES = (
    PageFile(
        "/page/style.css",
        "Get the first page's style sheet",
        "text/css",
        lambda _: (_FIRST_PAGE / "style.css").read_bytes(),
    ),
    PageFile(
        "/page/script.js",
        "Get the first page's script",
        "text/javascript",
        lambda _: (_FIRST_PAGE / "script.js").read_bytes(),
    ),
    PageFile(
        "/llms.txt",
        "Read what the API is, for language models",
        "text/plain",
        lambda _: (_HERE / "llms.txt").read_bytes(),
    ),
)
FILES: tuple[PageFile, ...] = (PageFile("/", "", _HTML, _first_page), *_FILES)


async def root(call: Call[ConnectionQuery]) -> web.StreamResponse:
    """A page for browsers: what runs, where to go, and the live list of markets.

    Everybody else gets a text that names the documents. With an upgrade it is the same as /ws, for clients
    that connect to the root.
    """
    request = call.request
    if wants_upgrade(request):
        return await call.app[WEBSOCKET].serve(request)
    page = call.app[DOCS]["/"] if _accepts_html(request) else _text
    response = page.respond_to(request)
    response.headers[hdrs.VARY] = f"{hdrs.ACCEPT}, {hdrs.UPGRADE}"
    return response


_text = TaggedResponse.of(_FOR_PROGRAMS, f"{_TEXT}; charset=utf-8")


def _accepts_html(request: web.Request) -> bool:
    """Whether the client names HTML, as browsers do; */* is not enough."""
    accepted = ",".join(request.headers.getall(hdrs.ACCEPT, ())).split(",")
    return any(one.partition(";")[0].strip().lower() == _HTML for one in accepted)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method="GET",
        path="/",
        handler=root,
        name="open_first_page",
        summary="Open the first page, or a WebSocket",
        tag="realtime",
        access=Access.PUBLIC,
        query=ConnectionQuery,
        responses={101: None, 200: NonJson(_HTML, (_TEXT,)), 304: None},
        errors=(TooManyConnections, Restarting),
    ),
    *file_operations(_FILES),
)
